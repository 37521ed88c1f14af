//! One function for each command.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::arguments::{Arguments, Order, Scale as Wanted};
use crate::client::{Client, ClientError};
use crate::pool::{Pool, Scale};
use crate::{screen, status};

#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{address} answered something else than the admin API of Podicorn does: {why}")]
    Answer { address: String, why: String },
    #[error("the terminal: {0}")]
    Terminal(#[from] std::io::Error),
    #[error("top needs a terminal; `podicorn ctl status` prints the same once")]
    NoTerminal,
}

pub(crate) fn execute(arguments: &Arguments) -> Result<String, CommandError> {
    let client = Client::new(arguments.admin.clone(), arguments.token_file.as_deref())?;
    match &arguments.order {
        Order::Status { json: true } => Ok(client.get("/workers")?),
        Order::Status { json: false } => Ok(status::text(&pool(&client)?)),
        Order::Scale(None) => Ok(status::scale(&read(&client, &client.get("/scale")?)?)),
        Order::Scale(Some(Wanted::Steps(steps))) => step(&client, *steps),
        Order::Scale(Some(Wanted::Absolute { workers, seconds })) => lease(&client, *workers, *seconds),
        Order::Reload => {
            let answer: Value = read(&client, &client.post("/reload")?)?;
            let after = if answer["queued"] == true { ", after the one that is under way" } else { "" };
            Ok(format!(
                "Reload begun{after}: generation {}. `podicorn ctl status` tells when it serves.\n",
                answer["generation"]
            ))
        }
        Order::Drain => {
            client.post("/drain")?;
            Ok("Draining: not ready from now on; the server ends when its requests are answered.\n"
                .to_owned())
        }
        Order::Stack(slot) => Ok(client.get(&format!("/workers/{slot}/stack"))?),
        Order::Top => screen::run(&client).map(|()| String::new()),
    }
}

pub(crate) fn pool(client: &Client) -> Result<Pool, CommandError> {
    read(client, &client.get("/workers")?)
}

fn read<T: DeserializeOwned>(client: &Client, text: &str) -> Result<T, CommandError> {
    serde_json::from_str(text).map_err(|error| CommandError::Answer {
        address: client.address().to_string(),
        why: error.to_string(),
    })
}

fn step(client: &Client, steps: i32) -> Result<String, CommandError> {
    let path = if steps > 0 { "/scale/ttin" } else { "/scale/ttou" };
    let mut said = String::new();
    for _ in 0..steps.unsigned_abs() {
        let answer: Value = read(client, &client.post(path)?)?;
        answer["message"].as_str().unwrap_or_default().clone_into(&mut said);
        if answer["changed"] == false {
            break;
        }
    }
    Ok(said + "\n")
}

/// A lease of the number, by an epoch that is newer than any accepted before.
fn lease(client: &Client, workers: u32, seconds: u32) -> Result<String, CommandError> {
    let before: Scale = read(client, &client.get("/scale")?)?;
    let epoch = before.last_epoch.map_or(0, |epoch| epoch.saturating_add(1));
    let body = json!({"workers": workers, "epoch": epoch, "ttlSeconds": seconds});
    let after: Scale = read(client, &client.put("/scale", body.to_string())?)?;
    Ok(status::scale(&after))
}
