//! Holds what clients are told (docs/openapi.json) against what the listener does, both ways: every route is described
//! and every description leads somewhere, and whatever is answered in these tests has a description that it fits.

use super::stage::Got;
use crate::listener::routes::route;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../../docs/openapi.json")).unwrap());

/// What stands behind a `$ref`.
fn resolved(value: &'static Value) -> &'static Value {
    match value.get("$ref").and_then(Value::as_str) {
        Some(at) => {
            resolved(DOCUMENT.pointer(at.strip_prefix('#').unwrap()).unwrap_or_else(|| panic!("{at} is nowhere")))
        }
        None => value,
    }
}

fn paths() -> impl Iterator<Item = (&'static String, &'static Value)> {
    DOCUMENT["paths"].as_object().unwrap().iter()
}

/// The described path that `path` is one of.
fn description(path: &str) -> Option<(&'static String, &'static Value)> {
    let path = path.split('?').next()?;
    let path = if path.len() > 1 { path.strip_suffix('/').unwrap_or(path) } else { path };
    let fits = |template: &str| {
        let (template, path): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
        let one = |(template, part): (&&str, &&str)| template == part || template.starts_with('{') && !part.is_empty();
        template.len() == path.len() && template.iter().zip(&path).all(one)
    };
    paths().find(|(template, _)| *template == path).or_else(|| paths().find(|(template, _)| fits(template)))
}

fn described_methods(item: &Value) -> BTreeSet<String> {
    item.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect()
}

/// A path of this template, with the examples of its parameters.
fn example_of(template: &str, item: &'static Value) -> String {
    let operation = item.as_object().unwrap().values().next().unwrap();
    let parameters = operation["parameters"].as_array().into_iter().flatten().map(resolved);
    let examples: BTreeMap<String, String> = parameters
        .filter(|parameter| parameter["in"] == "path")
        .map(|parameter| {
            let example = &parameter["example"];
            let text = example.as_str().map_or_else(|| example.to_string(), str::to_owned);
            (format!("{{{}}}", parameter["name"].as_str().unwrap()), text)
        })
        .collect();
    let part = |part: &str| examples.get(part).map_or(part.to_owned(), String::clone);
    template.split('/').map(part).collect::<Vec<_>>().join("/")
}

#[test]
fn what_is_described_is_there_with_the_methods_it_has() {
    for (template, item) in paths() {
        let path = example_of(template, item);
        let route = route(&path).unwrap_or_else(|| panic!("{path} is described and leads nowhere"));
        let methods: BTreeSet<String> = route.methods().iter().map(|method| method.to_string()).collect();
        assert_eq!(described_methods(item), methods, "{path}");
    }
}

#[test]
fn what_is_there_is_described() {
    let words =
        ["", "webhook", "webhooks", "webhook-health", "deploy", "health", "status", "api", "deployments", "log"];
    let values = ["metrics", "github", "generic", "shop", "42", "-1", "deliveries"];
    let parts: Vec<&str> = words.into_iter().chain(values).collect();
    let deeper = |paths: &[String]| -> Vec<String> {
        paths.iter().flat_map(|path| parts.iter().map(move |part| format!("{path}/{part}"))).collect()
    };
    let mut level = vec![String::new()];
    let mut seen = 0;
    for _ in 0..4 {
        level = deeper(&level);
        for path in level.iter().filter(|path| !path.contains("//") && route(path).is_some()) {
            assert!(description(path).is_some(), "{path} is answered and not described");
            seen += 1;
        }
    }
    assert!(seen >= paths().count(), "{seen}");
}

#[test]
fn every_forge_is_described() {
    let described = &DOCUMENT["components"]["parameters"]["Forge"]["schema"]["enum"];
    for forge in described.as_array().unwrap() {
        assert!(route(&format!("/webhooks/{}", forge.as_str().unwrap())).is_some(), "{forge}");
    }
}

#[test]
fn every_example_fits_its_schema() {
    fn walk(value: &'static Value, seen: &mut usize) {
        let schema = value.get("schema").or_else(|| value.get("examples").map(|_| value));
        let examples = value.get("examples").and_then(Value::as_array).into_iter().flatten();
        for example in examples.chain(value.get("example")) {
            if let Some(schema) = schema {
                fit(example, schema, "example").unwrap();
                *seen += 1;
            }
        }
        match value {
            Value::Object(map) => map.values().for_each(|value| walk(value, seen)),
            Value::Array(items) => items.iter().for_each(|value| walk(value, seen)),
            _ => {}
        }
    }
    let mut seen = 0;
    walk(&DOCUMENT, &mut seen);
    assert!(seen > 20, "{seen}");
}

/// Whether an answer to `method target` is described, and fits. What is not described is a 404; a method that is not is
/// a 405 which names those that are.
pub(super) fn hold(method: &str, target: &str, got: &Got) {
    let fixed = ["cache-control: no-store", "x-content-type-options: nosniff"];
    let head = got.head.to_ascii_lowercase();
    assert!(fixed.iter().all(|header| head.contains(header)), "{method} {target} {got:?}");
    let error = &DOCUMENT["components"]["schemas"]["Error"];
    let Some((template, item)) = description(target) else {
        assert!(matches!(got.status, 400 | 404), "{method} {target} {got:?}");
        return fit(&got.json(), error, target).unwrap();
    };
    let Some(operation) = item.get(method.to_lowercase()) else {
        assert_eq!(got.status, 405, "{method} {target} {got:?}");
        let allow = header(got, "allow").unwrap_or_default();
        let allow: BTreeSet<String> = allow.split(", ").map(str::to_owned).collect();
        assert_eq!(allow, described_methods(item), "{method} {target}");
        return fit(&got.json(), error, target).unwrap();
    };
    let code = got.status.to_string();
    let said = operation["responses"].get(&code);
    let said = resolved(said.unwrap_or_else(|| panic!("{method} {template} says nothing of {code}: {got:?}")));
    for (name, described) in said["headers"].as_object().into_iter().flatten() {
        let required = resolved(described)["required"] == true;
        assert!(!required || header(got, name).is_some(), "{method} {template} {code} has no {name}: {got:?}");
    }
    let kind = header(got, "content-type").unwrap_or_default();
    match said["content"].as_object() {
        None => assert_eq!(got.body, "", "{method} {template} {code}"),
        Some(content) => {
            let kind = kind.split(';').next().unwrap_or_default();
            let media = content.get(kind).unwrap_or_else(|| panic!("{method} {template} {code} as {kind:?}: {got:?}"));
            if kind == "application/json" {
                fit(&got.json(), &media["schema"], &format!("{method} {template} {code}")).unwrap();
            }
            if kind == "text/event-stream" {
                events_fit(&got.body);
            }
        }
    }
}

fn events_fit(body: &str) {
    for event in body.split("\n\n").filter(|event| event.starts_with("event: ")) {
        let (name, data) = (event.lines().next().unwrap(), event.lines().last().unwrap());
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        let schema = if name == "event: accepted" { "Triggered" } else { "Followed" };
        fit(&data, &DOCUMENT["components"]["schemas"][schema], event).unwrap();
    }
}

fn header(got: &Got, name: &str) -> Option<String> {
    let mut lines = got.head.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
}

/// Whether `value` fits `schema`, as far as this document's schemas go. A key that is not described does not fit.
fn fit(value: &Value, schema: &'static Value, at: &str) -> Result<(), String> {
    let schema = resolved(schema);
    let wrong = |what: &str| Err(format!("{at}: {value} {what}"));
    if let Some(expected) = schema.get("const").filter(|expected| *expected != value) {
        return wrong(&format!("is not {expected}"));
    }
    if schema.get("enum").and_then(Value::as_array).is_some_and(|allowed| !allowed.contains(value)) {
        return wrong("is none of those described");
    }
    if let Some(types) = schema.get("type") {
        let types: Vec<&str> = types
            .as_array()
            .map_or(vec![types], |all| all.iter().collect())
            .into_iter()
            .filter_map(Value::as_str)
            .collect();
        if !types.iter().any(|kind| is_a(value, kind)) {
            return wrong(&format!("is none of {types:?}"));
        }
    }
    for any in ["anyOf", "oneOf"] {
        let Some(choices) = schema.get(any).and_then(Value::as_array) else { continue };
        let failures: Vec<String> = choices.iter().filter_map(|choice| fit(value, choice, at).err()).collect();
        let fitting = choices.len() - failures.len();
        if fitting == 0 || any == "oneOf" && fitting > 1 {
            return wrong(&format!("fits {fitting} of the choices: {failures:?}"));
        }
    }
    if let Some(items) = schema.get("items") {
        for (index, item) in value.as_array().into_iter().flatten().enumerate() {
            fit(item, items, &format!("{at}[{index}]"))?;
        }
    }
    let Some(object) = value.as_object() else { return Ok(()) };
    for key in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !object.contains_key(key) {
            return wrong(&format!("has no {key:?}"));
        }
    }
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return Ok(()) };
    for (key, value) in object {
        match properties.get(key) {
            Some(schema) => fit(value, schema, &format!("{at}.{key}"))?,
            None => return wrong(&format!("has {key:?}, which is not described")),
        }
    }
    Ok(())
}

fn is_a(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}

#[test]
fn what_does_not_fit_is_noticed() {
    let schema = |name: &str| &DOCUMENT["components"]["schemas"][name];
    let health = |text: &str| fit(&serde_json::from_str(text).unwrap(), schema("Health"), "health");
    assert!(health(r#"{"status":"healthy","timestamp":"x","service":"pintle"}"#).is_ok());
    for bad in [
        r#"{"status":"healthy","timestamp":"x"}"#,
        r#"{"status":"well","timestamp":"x","service":"pintle"}"#,
        r#"{"status":"healthy","timestamp":5,"service":"pintle"}"#,
        r#"{"status":"healthy","timestamp":"x","service":"pintle","path":"/var"}"#,
        "[]",
    ] {
        assert!(health(bad).is_err(), "{bad}");
    }
}
