//! The accept loop on real sockets.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::*;
use crate::admin::server::MAX_CONNECTIONS;
use crate::admin::{AdminListener, BindAddress, Closing, serve};

const PROBE: &[u8] = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
const SOON: Duration = Duration::from_secs(20);

fn serve_tcp() -> SocketAddr {
    let (_pool, commands) = fake_loop();
    let listener = AdminListener::bind(&BindAddress::parse("127.0.0.1:0").unwrap()).unwrap();
    let address = listener.tcp_address().unwrap();
    tokio::spawn(serve(listener, AdminState::new(commands, Access::HealthOnly)));
    address
}

async fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(SOON, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn serves_tcp_with_keep_alive() {
    let address = serve_tcp();
    let mut stream = TcpStream::connect(address).await.unwrap();
    for _ in 0..2 {
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = [0; 1024];
        let read = tokio::time::timeout(SOON, stream.read(&mut answer)).await.unwrap().unwrap();
        assert!(answer[..read].starts_with(b"HTTP/1.1 200 OK\r\n"));
        assert!(answer[..read].ends_with(b"\r\n\r\nok\n"));
    }
}

#[tokio::test]
async fn serves_a_unix_socket() {
    let path = std::env::temp_dir().join(format!("podicorn-serve-{}.sock", std::process::id()));
    let (_pool, commands) = fake_loop();
    let listener = AdminListener::bind(&BindAddress::Unix(path.clone())).unwrap();
    let server = tokio::spawn(serve(listener, AdminState::new(commands, Access::Trusted)));
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream.write_all(b"GET /scale HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(SOON, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("\"target\":2"), "{answer}");
    server.abort();
    let _ = server.await;
    assert!(!path.exists(), "the file goes with the server");
}

#[tokio::test]
async fn probes_are_answered_however_many_clients_dawdle() {
    let address = serve_tcp();
    let mut dawdlers = Vec::new();
    for index in 0..MAX_CONNECTIONS * 2 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // Some say nothing, some stop in the head, some were served and stay.
        let begun: &[u8] = match index % 3 {
            0 => b"",
            1 => b"GET /livez HT",
            _ => b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n",
        };
        stream.write_all(begun).await.unwrap();
        dawdlers.push(stream);
        if index % 64 == 0 {
            assert!(exchange(address, PROBE).await.starts_with("HTTP/1.1 200"), "after {index}");
        }
    }
    assert!(exchange(address, PROBE).await.starts_with("HTTP/1.1 200"));
    // The first to dawdle made place.
    let mut rest = Vec::new();
    let first = tokio::time::timeout(SOON, dawdlers[0].read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty() && first.is_ok_and(|read| read == 0));
}

#[tokio::test]
async fn heads_are_bounded() {
    let address = serve_tcp();
    let long = format!("GET /livez HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(64 * 1024));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(long.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await.unwrap();
    // Closing with unread bytes may reset the connection before the answer is read.
    assert!(
        answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"),
        "{:?}",
        String::from_utf8_lossy(&answer)
    );
    let many = format!("GET /livez HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(100));
    assert!(exchange(address, many.as_bytes()).await.starts_with("HTTP/1.1 431"));
    assert!(exchange(address, b"nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400"));
    assert!(exchange(address, PROBE).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn another_program_goes_on_with_the_socket() {
    let path = std::env::temp_dir().join(format!("podicorn-closing-{}.sock", std::process::id()));
    let (_pool, commands) = fake_loop();
    let listener = AdminListener::bind(&BindAddress::Unix(path.clone())).unwrap();
    let spare = listener.spare().unwrap();
    let state = AdminState::new(commands, Access::Trusted);
    let closing = state.closing.clone();
    let first = tokio::spawn(serve(listener, state.clone()));
    let mut silent = UnixStream::connect(&path).await.unwrap();
    let mut asked = UnixStream::connect(&path).await.unwrap();
    let mut answer = [0; 1024];
    asked.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(asked.read(&mut answer).await.unwrap() > 0);

    closing.begin();
    let mut rest = String::new();
    asked.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "", "an idle connection ends");
    // Who has connected and has not asked yet is still answered, who comes now waits.
    let mut late = UnixStream::connect(&path).await.unwrap();
    late.write_all(PROBE).await.unwrap();
    silent.write_all(PROBE).await.unwrap();
    silent.read_to_string(&mut rest).await.unwrap();
    assert!(rest.starts_with("HTTP/1.1 200 OK\r\n"), "{rest}");
    first.await.unwrap().unwrap();
    assert!(path.exists());

    let state = AdminState { closing: Closing::default(), ..state };
    let second = tokio::spawn(serve(spare.try_clone().unwrap().listener(), state));
    let mut answer = String::new();
    tokio::time::timeout(SOON, late.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    second.abort();
    let _ = second.await;
    assert!(!path.exists(), "the file goes with the last one");
}
