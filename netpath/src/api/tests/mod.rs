//! The documents and their schemas.

mod counted;
mod judged;
mod nodes;
mod packets;

use jsonschema::Validator;
use serde::Serialize;
use serde_json::{Value, json};

const STATS: &str = include_str!("../../../../docs/schema/stats.json");
const AUDIT: &str = include_str!("../../../../docs/schema/audit.json");
const FLOWS: &str = include_str!("../../../../docs/schema/flows.json");
const EXPLAIN: &str = include_str!("../../../../docs/schema/explain.json");
const SHOW: &str = include_str!("../../../../docs/schema/show.json");
const DOCTOR: &str = include_str!("../../../../docs/schema/doctor.json");
const TRACE: &str = include_str!("../../../../docs/schema/trace.json");
const UP: &str = include_str!("../../../../docs/schema/up.json");

fn validator(schema: &str) -> Validator {
    let schema: Value = serde_json::from_str(schema).expect("the schema is JSON");
    jsonschema::draft202012::meta::validate(&schema).expect("the schema is one");
    jsonschema::draft202012::new(&schema).expect("the schema is usable")
}

fn value(document: &impl Serialize) -> Value {
    serde_json::to_value(document).expect("serializes")
}

/// The document is of its schema, and would not be with a key more, with one less, or of another version.
fn conforms(schema: &str, document: &Value) {
    let validator = validator(schema);
    let errors: Vec<String> = validator
        .iter_errors(document)
        .map(|error| error.to_string())
        .collect();
    assert_eq!(errors, Vec::<String>::new(), "{document}");

    for (path, object) in objects("", document) {
        let mut more = document.clone();
        more.pointer_mut(&path).expect("it is there")["unheard_of"] = json!(1);
        assert!(!validator.is_valid(&more), "with a key more in {path:?}");
        for key in object {
            let mut less = document.clone();
            let place = less.pointer_mut(&path).expect("it is there");
            place.as_object_mut().expect("an object").remove(&key);
            assert!(!validator.is_valid(&less), "without {key} in {path:?}");
        }
    }
    let mut newer = document.clone();
    newer["version"] = json!(document["version"].as_u64().map(|version| version + 1));
    assert!(!validator.is_valid(&newer), "of another version");
}

/// The JSON pointer and the keys of every object within a value.
fn objects(path: &str, value: &Value) -> Vec<(String, Vec<String>)> {
    match value {
        Value::Object(map) => {
            let mut found = vec![(path.to_owned(), map.keys().cloned().collect())];
            for (key, value) in map {
                found.extend(objects(&format!("{path}/{key}"), value));
            }
            found
        }
        Value::Array(values) => values
            .iter()
            .enumerate()
            .flat_map(|(index, value)| objects(&format!("{path}/{index}"), value))
            .collect(),
        _ => Vec::new(),
    }
}
