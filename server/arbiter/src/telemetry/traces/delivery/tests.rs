use super::*;

fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    fields
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect()
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap()
}

#[test]
fn http_answers_are_told_apart() {
    let none = HeaderMap::new();
    let answer = |code| judge_http(status(code), &none, b"");
    assert_eq!(answer(200), Attempt::Accepted { refused: 0 });
    for code in [429, 502, 503, 504] {
        assert!(matches!(answer(code), Attempt::Failed { after: None, .. }), "{code}");
    }
    for code in [400, 401, 404, 413, 500] {
        assert!(matches!(answer(code), Attempt::Refused(_)), "{code}");
    }
    let later = judge_http(status(503), &headers(&[("retry-after", "7")]), b"");
    assert!(matches!(later, Attempt::Failed { after: Some(after), .. } if after == Duration::from_secs(7)));
}

#[test]
fn a_partial_success_says_how_many_were_refused() {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;
    let partial = ExportTracePartialSuccess { rejected_spans: 3, error_message: "no".into() };
    let body = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    assert_eq!(judge_http(status(200), &HeaderMap::new(), &body), Attempt::Accepted { refused: 3 });
    let framed = [&[0, 0, 0, 0, body.len() as u8], &body[..]].concat();
    let fine = headers(&[("grpc-status", "0")]);
    let answer = judge_grpc(status(200), &HeaderMap::new(), &fine, &framed);
    assert_eq!(answer, Attempt::Accepted { refused: 3 });
    assert_eq!(refused(b"\xff\xff\xff"), 0);
}

#[test]
fn grpc_answers_are_told_apart() {
    let none = HeaderMap::new();
    for (code, again) in [("14", true), ("8", true), ("4", true), ("3", false), ("16", false), ("12", false)]
    {
        let trailers = headers(&[("grpc-status", code)]);
        let attempt = judge_grpc(status(200), &none, &trailers, b"");
        assert_eq!(matches!(attempt, Attempt::Failed { .. }), again, "{code}: {attempt:?}");
        // Without a body the status is in the headers.
        assert_eq!(judge_grpc(status(200), &trailers, &none, b""), attempt);
    }
    assert!(matches!(judge_grpc(status(503), &none, &none, b""), Attempt::Failed { .. }));
    assert!(matches!(judge_grpc(status(404), &none, &none, b""), Attempt::Refused(_)));
}

#[test]
fn what_is_compressed_can_be_read() {
    let message = Bytes::from(vec![7; 10_000]);
    let packed = compressed(&message);
    assert!(packed.len() < 1000);
    let mut unpacked = Vec::new();
    io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&packed[..]), &mut unpacked).unwrap();
    assert_eq!(unpacked, message);
}

#[test]
fn certificates_that_cannot_be_used_are_named() {
    let missing = trusting("/nowhere/ca.pem").unwrap_err();
    assert!(missing.to_string().contains("/nowhere/ca.pem"), "{missing}");
    let path = std::env::temp_dir().join(format!("podicorn-ca-{}.pem", std::process::id()));
    std::fs::write(&path, "no certificate").unwrap();
    let empty = trusting(path.to_str().unwrap()).unwrap_err();
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(empty, DeliveryError::NoCertificate { .. }), "{empty}");
}
