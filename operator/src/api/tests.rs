use super::*;

#[test]
fn the_chart_holds_the_definition() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../charts/podicorn-crds/files/gunicornapps.yaml");
    let yaml = crd_yaml().unwrap();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &yaml).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        kept, yaml,
        "write it anew: UPDATE=1 cargo test -p podicorn-operator the_chart_holds_the_definition"
    );
}
