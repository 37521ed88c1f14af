//! The hot path allocates nothing once its buffers have grown.
#![allow(unsafe_code)] // a counting allocator is the only way to see allocations

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use podicorn_http::date::DateCache;
use podicorn_http::response::{
    Exchange, LAST_CHUNK, RequestMethod, ResponseHead, decide_framing, write_chunk,
};
use podicorn_http::target::percent_decode;
use podicorn_http::{BodyDecoder, Head, ParserConfig, parse_head_into};

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: all calls go to the system allocator with their arguments unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_reused_connection_allocates_nothing() {
    let cfg = ParserConfig::default();
    let request = b"POST /a%20b?c HTTP/1.1\r\nHost: a:80\r\nUser-Agent: x\r\nX-Forwarded-Proto: https\r\n\
        Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX-Trailer: 1\r\n\r\n";
    let (mut head, mut decoder) = (Head::default(), BodyDecoder::default());
    let (mut body, mut path, mut out) = (Vec::new(), Vec::new(), Vec::new());
    let (mut response, mut date) = (ResponseHead::new(), DateCache::new());
    let mut serve = |second: u64| {
        body.clear();
        path.clear();
        out.clear();
        response.clear();
        assert_eq!(parse_head_into(&mut head, request, &cfg, true), Ok(true));
        percent_decode(head.path(request), &mut path);
        decoder.start(head.body(), &cfg);
        assert!(decoder.decode(&request[head.len()..], &mut body, 1024).unwrap().done);
        response.set_status(b"200 OK").unwrap();
        response.add_header(b"Content-Type", b"text/plain").unwrap();
        let exchange = Exchange {
            version: head.version(),
            method: RequestMethod::of(head.method(request)),
            status: response.status(),
            content_length: response.content_length(),
            keep_alive: head.keep_alive(),
        };
        response.write(&mut out, &decide_framing(&exchange), b"gunicorn", date.at(second));
        write_chunk(&mut out, &body);
        out.extend_from_slice(LAST_CHUNK);
    };
    serve(0);
    let before = COUNT.get();
    for second in 1..100 {
        serve(second);
    }
    assert_eq!(COUNT.get() - before, 0);
}
