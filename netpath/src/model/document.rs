//! A TOML document as tables with known keys; every value with the line it stands on.

use std::borrow::Cow;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    fault::{Fault, FaultKind},
    findings::{At, Findings},
};

/// A table's place in the document and the keys it can have.
pub(super) struct Schema {
    /// The keys that lead to it, such as `node.uplink`; empty for the document itself.
    pub(super) path: &'static str,
    /// Its keys, as a reader would expect them in a list.
    pub(super) keys: &'static [&'static str],
}

/// Every table of the document, for the advice where a key belongs.
pub(super) type Schemas = [&'static Schema];

/// One table whose keys are all known.
pub(super) struct Table<'t, 'i> {
    schema: &'static Schema,
    table: &'t DeTable<'i>,
    line: usize,
}

/// The document's own table; `None` when the text is not TOML.
pub(super) fn parse<'i>(text: &'i str, findings: &mut Findings<'_>) -> Option<DeTable<'i>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut last_line = 0;
    for error in &errors {
        let end = text.trim_end().len();
        let line = findings.line(&error.span().unwrap_or(end..end));
        // What follows the first error of a line is mostly its echo.
        if line != last_line {
            findings.add(line, "TOML", syntax_fault(error.message()));
        }
        last_line = line;
    }
    errors.is_empty().then(|| table.into_inner())
}

impl<'t, 'i> Table<'t, 'i> {
    /// Wraps a table that starts on `line`, and reports the keys it cannot have.
    pub(super) fn new(
        schema: &'static Schema,
        schemas: &Schemas,
        table: &'t DeTable<'i>,
        line: usize,
        findings: &mut Findings<'_>,
    ) -> Self {
        for (key, _) in table {
            let name = key.get_ref().as_ref();
            if !schema.keys.contains(&name) {
                let line = findings.line(&key.span());
                // A quoted key can hold anything, a newline or a terminal's escape sequence too.
                let key = schema.key(&name.escape_debug().to_string());
                findings.add(line, key, unknown_key(schema, schemas, name));
            }
        }
        Self {
            schema,
            table,
            line,
        }
    }

    /// The line of its header.
    pub(super) fn line(&self) -> usize {
        self.line
    }

    /// The full key of one of its values, for findings.
    pub(super) fn key(&self, key: &str) -> String {
        self.schema.key(key)
    }

    /// Whether a key is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// The value of an optional key, converted by `read`. `None` also when a finding says why not.
    pub(super) fn optional<T>(
        &self,
        key: &str,
        findings: &mut Findings<'_>,
        read: impl Fn(&DeValue<'i>) -> Result<T, Fault>,
    ) -> Option<At<T>> {
        let value = self.get(key)?;
        convert(value, || self.key(key), findings, read)
    }

    /// The value of a key that must be there, converted by `read`; `example` is what to write.
    pub(super) fn required<T>(
        &self,
        key: &str,
        example: &str,
        findings: &mut Findings<'_>,
        read: impl Fn(&DeValue<'i>) -> Result<T, Fault>,
    ) -> Option<At<T>> {
        if !self.has(key) {
            let fault = Fault::new(
                FaultKind::MissingKey,
                "the key is missing",
                format!("add {key} = {example}"),
            );
            findings.add(self.line, self.key(key), fault);
        }
        self.optional(key, findings, read)
    }

    /// The entries of a list, converted one by one; those with a finding are left out. `None` when the
    /// key is absent or not a list.
    pub(super) fn list<T>(
        &self,
        key: &str,
        findings: &mut Findings<'_>,
        read: impl Fn(&DeValue<'i>) -> Result<T, Fault>,
    ) -> Option<At<Vec<At<T>>>> {
        let value = self.get(key)?;
        let line = findings.line(&value.span());
        let DeValue::Array(entries) = value.get_ref() else {
            let cure = match value.get_ref() {
                DeValue::String(text) => format!("write {key} = [{text:?}]"),
                _ => format!("write {key} = [\"...\"]"),
            };
            findings.add(
                line,
                self.key(key),
                wrong_type(value.get_ref(), "a list", cure),
            );
            return None;
        };
        let value = entries
            .iter()
            .filter_map(|entry| convert(entry, || self.key(key), findings, &read))
            .collect();
        Some(At { line, value })
    }

    /// The tables of an array of tables; none when the key is absent.
    pub(super) fn tables(
        &self,
        schema: &'static Schema,
        schemas: &Schemas,
        findings: &mut Findings<'_>,
    ) -> Vec<Table<'t, 'i>> {
        let key = schema.path.rsplit('.').next().unwrap_or(schema.path);
        let Some(value) = self.get(key) else {
            return Vec::new();
        };
        let cure = format!("start each {key} with [[{}]]", schema.path);
        let DeValue::Array(entries) = value.get_ref() else {
            let line = findings.line(&value.span());
            let fault = wrong_type(value.get_ref(), "an array of tables", cure);
            findings.add(line, schema.path, fault);
            return Vec::new();
        };
        let mut tables = Vec::with_capacity(entries.len());
        for entry in entries {
            let line = findings.line(&entry.span());
            match entry.get_ref() {
                DeValue::Table(table) => {
                    tables.push(Table::new(schema, schemas, table, line, findings));
                }
                other => {
                    findings.add(
                        line,
                        schema.path,
                        wrong_type(other, "a table", cure.clone()),
                    );
                }
            }
        }
        tables
    }

    fn get(&self, key: &str) -> Option<&'t Spanned<DeValue<'i>>> {
        self.table.get(key)
    }
}

impl Schema {
    fn key(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    fn header(&self) -> Cow<'static, str> {
        if self.path.is_empty() {
            "the top level".into()
        } else {
            format!("[[{}]]", self.path).into()
        }
    }
}

/// A reader of strings.
pub(super) fn string<T>(
    parse: impl Fn(&str) -> Result<T, Fault>,
) -> impl Fn(&DeValue<'_>) -> Result<T, Fault> {
    move |value| match value {
        DeValue::String(text) => parse(text),
        other => Err(wrong_type(
            other,
            "a string",
            "write it in double quotes".to_owned(),
        )),
    }
}

/// A reader of `true` and `false`.
pub(super) fn boolean(value: &DeValue<'_>) -> Result<bool, Fault> {
    match value {
        DeValue::Boolean(value) => Ok(*value),
        other => {
            let cure = "write true or false, without quotes".to_owned();
            Err(wrong_type(other, "true or false", cure))
        }
    }
}

/// A reader of integers within a range.
pub(super) fn integer(
    range: std::ops::RangeInclusive<u32>,
) -> impl Fn(&DeValue<'_>) -> Result<u32, Fault> {
    move |value| {
        let cure = format!("write a number from {} to {}", range.start(), range.end());
        let DeValue::Integer(number) = value else {
            return Err(wrong_type(value, "an integer", cure));
        };
        u32::from_str_radix(number.as_str(), number.radix())
            .ok()
            .filter(|number| range.contains(number))
            .ok_or_else(|| {
                Fault::new(
                    FaultKind::OutOfRange,
                    format!("{number} is out of range"),
                    cure,
                )
            })
    }
}

fn convert<'i, T>(
    value: &Spanned<DeValue<'i>>,
    key: impl Fn() -> String,
    findings: &mut Findings<'_>,
    read: impl Fn(&DeValue<'i>) -> Result<T, Fault>,
) -> Option<At<T>> {
    let line = findings.line(&value.span());
    match read(value.get_ref()) {
        Ok(value) => Some(At { line, value }),
        Err(fault) => {
            findings.add(line, key(), fault);
            None
        }
    }
}

fn wrong_type(value: &DeValue<'_>, wanted: &str, cure: String) -> Fault {
    let article = match value {
        DeValue::Integer(_) | DeValue::Array(_) => "an",
        _ => "a",
    };
    Fault::new(
        FaultKind::WrongType,
        format!("is {article} {}, not {wanted}", value.type_str()),
        cure,
    )
}

fn unknown_key(schema: &Schema, schemas: &Schemas, name: &str) -> Fault {
    let near = |known: &&&str| edit_distance(name, known) <= (known.len() / 3).max(1);
    let nearest = schema
        .keys
        .iter()
        .filter(near)
        .min_by_key(|known| edit_distance(name, known));
    let elsewhere = schemas.iter().find(|other| other.keys.contains(&name));
    let cure = match (nearest, elsewhere) {
        (Some(nearest), _) => format!("write {nearest}"),
        (None, Some(other)) => format!("move it to {}, whose key it is", other.header()),
        (None, None) => format!(
            "the keys of {} are {}",
            schema.header(),
            schema.keys.join(", ")
        ),
    };
    Fault::new(FaultKind::UnknownKey, "unknown key", cure)
}

fn syntax_fault(message: &str) -> Fault {
    let kind = if message.contains("duplicate key") {
        FaultKind::DuplicateKey
    } else {
        FaultKind::NotToml
    };
    Fault::new(kind, message, kind.kind().cure)
}

/// Levenshtein's distance, in characters.
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}
