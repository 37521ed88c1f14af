use super::*;

fn read(line: &str) -> Result<Command, Exit> {
    let surroundings = Surroundings { identity: Some("pod-1".into()), namespace: Some("podicorn".into()) };
    parse(line.split_whitespace().map(OsString::from), &surroundings)
}

#[test]
fn run_has_defaults_that_fit_a_pod() {
    let Ok(Command::Run(options)) = read("run") else { panic!() };
    assert_eq!(options.bind, "[::]:8080".parse().unwrap());
    assert_eq!(options.tick, Duration::from_secs(2));
    assert!(options.namespaces.is_empty());
    assert_eq!(
        options.lease,
        Some(LeaseOptions { namespace: "podicorn".into(), name: "podicorn-operator".into() })
    );
    assert_eq!(options.identity, "pod-1");
}

#[test]
fn namespaces_add_up() {
    let Ok(Command::Run(options)) = read("run --namespace=a --namespace b") else { panic!() };
    assert_eq!(options.namespaces, ["a", "b"]);
}

#[test]
fn a_leader_needs_a_namespace_for_its_lease() {
    let exit = parse(["run".into()], &Surroundings::default()).unwrap_err();
    assert_eq!(exit.code, 2);
    assert!(exit.to_stderr);
    assert!(exit.text.contains("POD_NAMESPACE"), "{}", exit.text);
    let alone = parse(["run".into(), "--no-leader-election".into()], &Surroundings::default());
    let Ok(Command::Run(options)) = alone else { panic!() };
    assert_eq!(options.lease, None);
}

#[test]
fn what_cannot_be_read_says_so_and_is_two() {
    for (line, words) in [
        ("", "Usage"),
        ("walk", "walk"),
        ("run --tick-seconds 0", "0 is not in 1..=60"),
        ("run --bind nowhere", "nowhere"),
        ("explain", "FILE"),
        ("sidecar --min 5 --max 2", "--min 5 is above --max 2"),
        ("sidecar --pid 0", "0 is not in"),
    ] {
        let exit = read(line).unwrap_err();
        assert_eq!(exit.code, 2, "{line}: {}", exit.text);
        assert!(exit.text.contains(words), "{line}: {}", exit.text);
    }
}

#[test]
fn help_and_version_are_zero() {
    for line in ["--help", "run --help", "--version"] {
        let exit = read(line).unwrap_err();
        assert_eq!((exit.code, exit.to_stderr), (0, false), "{line}");
    }
}

#[test]
fn explain_and_crd() {
    assert_eq!(read("explain -"), Ok(Command::Explain("-".into())));
    assert_eq!(read("crd"), Ok(Command::Crd));
}
