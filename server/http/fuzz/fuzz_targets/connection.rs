//! A connection with any number of requests on it, as the engine drives the crate: one buffer, one `Head`, one
//! `BodyDecoder`. Where one request ends and the next begins must not depend on how the bytes arrive, nor on the
//! requests before; else one is smuggled.
#![no_main]

use libfuzzer_sys::fuzz_target;
use podicorn_http::{BodyDecoder, Head, Reject, parse_head_into};
use podicorn_http_fuzz::bytes::Bytes;
use podicorn_http_fuzz::config::{Rules, take, take_rules};
use podicorn_http_fuzz::splits;
use podicorn_http_fuzz::told::{Field, Told, check_reject, owned};

fuzz_target!(|input: &[u8]| {
    let (rules, rest) = take_rules(input);
    // One byte says how many bytes arrive at a time, one how much of a body is taken at a time.
    let ([step, max_out], data) = take(rest);
    let (step, max_out) = (usize::from(step % 64) + 1, usize::from(max_out % 32) + 1);

    let whole = serve([data], usize::MAX, true, &rules);
    check(data, &whole, &rules);
    for at in splits::points(data) {
        let (first, second) = data.split_at(at);
        assert_eq!(serve([first, second], usize::MAX, true, &rules), whole, "split at {at}");
    }
    assert_eq!(serve(data.chunks(1), usize::MAX, true, &rules), whole, "byte by byte");
    assert_eq!(serve(data.chunks(step), max_out, true, &rules), whole, "{step} at a time, {max_out} taken");
    assert_eq!(serve([data], usize::MAX, false, &rules), whole, "with a fresh parser for each request");
});

#[derive(Debug, Default, PartialEq, Eq)]
struct Exchange {
    head: Option<Told>,
    body: Bytes,
    trailers: Vec<Field>,
    complete: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Served {
    /// The last one may be incomplete.
    exchanges: Vec<Exchange>,
    end: Option<Reject>,
    /// Bytes that belong to no exchange yet.
    left: Bytes,
}

/// Reads requests until one is refused or does not let the connection persist.
fn serve<'a>(
    parts: impl IntoIterator<Item = &'a [u8]>,
    max_out: usize,
    reuse: bool,
    rules: &Rules,
) -> Served {
    let (mut head, mut decoder) = (Head::default(), BodyDecoder::default());
    let mut served = Served { exchanges: vec![Exchange::default()], end: None, left: Bytes::default() };
    for part in parts {
        served.left.0.extend_from_slice(part);
        while served.end.is_none() && may_go_on(&served.exchanges) {
            match read(&mut served, &mut head, &mut decoder, max_out, rules) {
                Err(reject) => served.end = Some(reject),
                Ok(false) => break,
                Ok(true) if !reuse => (head, decoder) = Default::default(),
                Ok(true) => {}
            }
        }
    }
    if served.end.is_some() {
        // Which bytes an error came with is a matter of the split.
        served.left.0.clear();
    }
    served
}

fn may_go_on(exchanges: &[Exchange]) -> bool {
    let last = exchanges.iter().rev().find(|exchange| exchange.complete);
    last.and_then(|exchange| exchange.head.as_ref()).is_none_or(|head| head.keep_alive)
}

/// Reads on in the last exchange; true when it is complete and another was begun.
fn read(
    served: &mut Served,
    head: &mut Head,
    decoder: &mut BodyDecoder,
    max_out: usize,
    rules: &Rules,
) -> Result<bool, Reject> {
    let Served { exchanges, left, .. } = served;
    let exchange = exchanges.last_mut().expect("there is always one");
    if exchange.head.is_none() {
        if !parse_head_into(head, left, &rules.cfg, rules.trusted)? {
            return Ok(false);
        }
        exchange.head = Some(Told::of(head, left));
        decoder.start(head.body(), &rules.cfg);
        left.0.drain(..head.len());
    }
    while !decoder.is_done() {
        if left.is_empty() {
            return Ok(false);
        }
        let progress = decoder.decode(left, &mut exchange.body.0, max_out)?;
        left.0.drain(..progress.consumed);
    }
    exchange.trailers = owned(decoder.trailers());
    exchange.complete = true;
    exchanges.push(Exchange::default());
    Ok(true)
}

/// The exchanges are in order, and those with a body by length take just that length.
fn check(data: &[u8], served: &Served, rules: &Rules) {
    let mut taken = 0;
    for exchange in served.exchanges.iter().filter(|exchange| exchange.complete) {
        let head = exchange.head.as_ref().expect("it is complete");
        taken += head.len;
        match head.body {
            podicorn_http::BodyKind::None => assert!(exchange.body.is_empty()),
            podicorn_http::BodyKind::Length(length) => {
                assert_eq!(exchange.body.len() as u64, length);
                assert_eq!(exchange.body, data[taken..taken + exchange.body.len()]);
                taken += exchange.body.len();
            }
            // How long it was on the wire is not told.
            podicorn_http::BodyKind::Chunked => return,
        }
    }
    let refused = served.end.as_ref().inspect(|reject| check_reject(reject, rules)).is_some();
    let waiting = served.exchanges.last().is_none_or(|exchange| exchange.head.is_none());
    if waiting && !refused {
        assert_eq!(served.left, data[taken..], "what is left is what nobody took");
    }
}
