//! Go templates of a `StorageProvider`: rendering them and reading what comes out.
//!
//! The language is Go's text/template with those sprig functions that make sense for a Secret, a StorageClass or a
//! PersistentVolumeClaim; nothing reads the clock, randomness, the environment or a file, so the same values always
//! render the same text. Rendering is bounded in output, iterations and nesting.
//!
//! Parameters hold credentials. No error says what was rendered or what a parameter is: only the template's own text,
//! a position in it and fixed words.

use std::collections::{BTreeMap, HashMap};

use gtmpl_ng::{Context, Limits, Template, Value};
use serde::de::DeserializeOwned;

mod strings;
#[cfg(test)]
mod tests;
mod values;

/// Largest template accepted, in bytes. An object of the API is at most about 1.5 MiB.
const MAX_TEMPLATE: usize = 256 * 1024;
/// Largest text rendered, in bytes: a Secret holds at most 1 MiB.
const MAX_OUTPUT: usize = 1024 * 1024;
const MAX_ITERATIONS: usize = 10_000;
const MAX_VALUE: usize = 256 * 1024;
/// What the engine prints for a value that is not there.
const NO_VALUE: &str = "<no value>";
/// Starts the messages of `fail` and `required`, so that they can be told from the engine's own.
const SAID: &str = "the template says: ";

/// What a template can refer to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values {
    /// `.Parameters`: configuration overlaid with credentials.
    pub parameters: BTreeMap<String, String>,
    /// `.CSIDriverSecretRef.Name`; empty when no Secret is generated.
    pub secret_name: String,
    /// `.CSIDriverSecretRef.Namespace`.
    pub secret_namespace: String,
    /// `.GeneratedStorageClassName`; empty when no StorageClass is generated.
    pub storage_class: String,
}

/// Why a template gave nothing usable. The text is safe to show: it holds no parameter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The template is larger than any we render.
    #[error("the template is larger than {MAX_TEMPLATE} bytes")]
    TooLarge,
    /// The template does not follow the language.
    #[error("{0}")]
    Parse(String),
    /// The template could not be executed with these values.
    #[error("{0}")]
    Execute(String),
    /// The rendered text is not what it should be.
    #[error("cannot unmarshal the rendered text into {expected}{place}")]
    Unmarshal {
        /// What the text should be.
        expected: &'static str,
        /// Where reading failed, such as ` (line 3, column 7)`.
        place: String,
    },
}

impl Values {
    fn context(&self) -> Context {
        let text = |text: &str| Value::String(text.to_owned());
        let parameters = self
            .parameters
            .iter()
            .map(|(key, value)| (key.clone(), text(value)))
            .collect();
        let secret = HashMap::from([
            ("Name".to_owned(), text(&self.secret_name)),
            ("Namespace".to_owned(), text(&self.secret_namespace)),
        ]);
        // An Object answers an unknown field with an error, as Go does for a struct; a Map lets a key be absent.
        Context::from(Value::Object(HashMap::from([
            ("Parameters".to_owned(), Value::Map(parameters)),
            ("CSIDriverSecretRef".to_owned(), Value::Object(secret)),
            ("GeneratedStorageClassName".to_owned(), text(&self.storage_class)),
        ])))
    }
}

/// Renders `text`, called `name` in messages. A parameter that is not set renders as the empty text.
pub fn render(name: &str, text: &str, values: &Values) -> Result<String, TemplateError> {
    if text.len() > MAX_TEMPLATE {
        return Err(TemplateError::TooLarge);
    }
    let limits = Limits::default()
        .with_iterations(MAX_ITERATIONS)
        .with_total_iterations(MAX_ITERATIONS)
        .with_output_bytes(MAX_OUTPUT)
        .with_function_output(MAX_VALUE);
    let mut template = Template::with_limits(limits);
    name.clone_into(&mut template.name);
    template.add_funcs(strings::FUNCTIONS);
    template.add_funcs(values::FUNCTIONS);
    template
        .parse(text)
        .map_err(|error| TemplateError::Parse(as_go_says(&error.to_string())))?;
    let rendered = template
        .render(&values.context())
        .map_err(|error| TemplateError::Execute(explain(text, &error)))?;
    Ok(rendered.replace(NO_VALUE, ""))
}

/// Renders a template whose text is a YAML map of strings, such as a Secret's data. Scalars keep their spelling, so an
/// unquoted key of digits stays what it is; an empty text is an empty map.
pub fn render_strings(name: &str, text: &str, values: &Values) -> Result<BTreeMap<String, String>, TemplateError> {
    let read: Option<BTreeMap<String, Option<String>>> = unmarshal(&render(name, text, values)?, "a map of strings")?;
    let entries = read.unwrap_or_default().into_iter();
    Ok(entries.map(|(key, value)| (key, value.unwrap_or_default())).collect())
}

/// Renders a template whose text is one object in YAML; `expected` names it in messages.
pub fn render_object<T: DeserializeOwned>(
    name: &str,
    text: &str,
    values: &Values,
    expected: &'static str,
) -> Result<T, TemplateError> {
    unmarshal(&render(name, text, values)?, expected)
}

fn unmarshal<T: DeserializeOwned>(rendered: &str, expected: &'static str) -> Result<T, TemplateError> {
    serde_saphyr::from_str(rendered).map_err(|error| TemplateError::Unmarshal {
        expected,
        place: error
            .location()
            .map(|at| format!(" (line {}, column {})", at.line(), at.column()))
            .unwrap_or_default(),
    })
}

/// A parse error holds nothing but template text; only Go's quotes around an unknown function are missing.
fn as_go_says(message: &str) -> String {
    let Some((before, rest)) = message.split_once("function ") else {
        return message.to_owned();
    };
    match rest.split_once(" not defined") {
        Some((function, after)) if !function.contains(char::is_whitespace) => {
            format!("{before}function \"{function}\" not defined{after}")
        }
        _ => message.to_owned(),
    }
}

/// Where execution failed and, if the words cannot hold a value, why.
fn explain(template: &str, error: &gtmpl_ng::ExecError) -> String {
    let Some(error) = error.as_structured() else {
        return reason(template, &error.to_string());
    };
    let at = &error.context;
    let line = template.lines().nth(at.line.saturating_sub(1)).unwrap_or_default();
    let start = at.col.saturating_sub(1);
    let part = line
        .get(start..start.saturating_add(at.len).min(line.len()))
        .unwrap_or_default();
    format!(
        "template: {}:{}:{}: executing <{part}>: {}",
        at.name,
        at.line,
        at.col,
        reason(template, &error.message)
    )
}

fn reason(template: &str, message: &str) -> String {
    const HARMLESS: [&str; 6] = [
        "the render would ",
        "range over ",
        "exceeded the maximum ",
        "a function produced a value ",
        "only maps and objects have fields",
        "unable to convert argument from value",
    ];
    if let Some((_, said)) = message.split_once(SAID) {
        // Said by the template's author, unless it was put together from parameters.
        return if template.contains(said) {
            said.to_owned()
        } else {
            "the template refuses these parameters".to_owned()
        };
    }
    if let Some((field, _)) = message.strip_prefix("no field `").and_then(|rest| rest.split_once('`')) {
        return format!("can't evaluate field {field}");
    }
    let counts = message.contains(" requires at least ") || message.contains(" requires exactly ");
    if counts || HARMLESS.iter().any(|start| message.starts_with(start)) {
        return message.to_owned();
    }
    "cannot be evaluated with these parameters".to_owned()
}
