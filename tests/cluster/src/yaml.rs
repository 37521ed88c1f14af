//! The apps of tests, as YAML.

/// An app whose pods are light: small enough to be there in a moment. `more` are further lines of its spec.
pub fn light(name: &str, more: &str) -> String {
    app(name, "podicorn/light:0.1", more)
}

/// `examples/flask`, run by the real server.
pub fn flask(name: &str, more: &str) -> String {
    app(name, "podicorn/example-flask:0.1", more)
}

fn app(name: &str, image: &str, more: &str) -> String {
    let mut text = format!(
        "apiVersion: podicorn.io/v1alpha1\nkind: GunicornApp\nmetadata:\n  name: {name}\nspec:\n  image: {image}\n  \
         app: shop:app\n"
    );
    for line in more.lines().filter(|line| !line.trim().is_empty()) {
        text.extend(["  ", line, "\n"]);
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn further_lines_belong_to_the_spec() {
        let text = super::light("shop", "workers:\n  max: 3\n");
        let value: serde_json::Value = serde_yaml::from_str(&text).unwrap();
        assert_eq!(value["spec"]["workers"]["max"], 3);
        assert_eq!(value["spec"]["image"], "podicorn/light:0.1");
    }
}
