//! The beginning of a connection as a header of the PROXY protocol: no verdict depends on how the bytes were split, nor on
//! what follows the header, and what one version takes is what both together take.
#![no_main]

use libfuzzer_sys::fuzz_target;
use podicorn_http::{Preamble, ProxyFamily, ProxyProtocol, begins_proxy_header, parse_proxy_header};
use podicorn_http_fuzz::splits;

fuzz_target!(|input: &[u8]| {
    let auto = parse_proxy_header(input, ProxyProtocol::Auto);
    for wanted in [ProxyProtocol::V1, ProxyProtocol::V2, ProxyProtocol::Auto] {
        let whole = parse_proxy_header(input, wanted);
        match &whole {
            Ok(Preamble::Header { length, proxied }) => {
                assert!((13..=input.len()).contains(length));
                assert!(begins_proxy_header(input, wanted));
                assert_eq!(auto, whole);
                assert_eq!(parse_proxy_header(&input[..*length], wanted), whole);
                let named = matches!(proxied.family, ProxyFamily::Tcp4 | ProxyFamily::Tcp6);
                assert_eq!(proxied.addresses.is_some(), named);
                if let Some((client, server)) = proxied.addresses {
                    let is_v4 = proxied.family == ProxyFamily::Tcp4;
                    assert!(client.is_ipv4() == is_v4 && server.is_ipv4() == is_v4);
                }
            }
            Ok(Preamble::Absent) => assert!(!begins_proxy_header(input, wanted)),
            Ok(Preamble::Incomplete) => {}
            Err(reject) => {
                assert_eq!(reject.status, 400);
                assert!(begins_proxy_header(input, wanted));
            }
        }
        for cut in splits::points(input) {
            match (parse_proxy_header(&input[..cut], wanted), &whole) {
                (Ok(Preamble::Incomplete), _) => {}
                (Err(part), Err(whole)) => assert_eq!(part.status, whole.status),
                (part, whole) => assert_eq!(&part, whole, "cut at {cut}"),
            }
        }
    }
});
