//! Functions over text.

use std::fmt::Write as _;

use gtmpl_ng::{Func, FuncError, Value, funcs};
use k8s_openapi::ByteString;
use sha2::{Digest, Sha256};

use super::values::{arg, items, number};

/// Functions by the name that sprig gives them; arguments are in sprig's order, the piped value last.
pub(super) const FUNCTIONS: &[(&str, Func)] = &[
    ("quote", |args| each(args, go_quoted)),
    ("squote", |args| each(args, |value| Ok(format!("'{value}'")))),
    ("toString", |args| Ok(Value::from(text("toString", args, 0)?))),
    ("toJson", to_json),
    ("trim", |args| Ok(Value::from(text("trim", args, 0)?.trim()))),
    ("trimAll", |args| {
        with(args, "trimAll", |chars, text| {
            text.trim_matches(|c| chars.contains(c)).to_owned()
        })
    }),
    ("trimPrefix", |args| {
        with(args, "trimPrefix", |prefix, text| {
            text.strip_prefix(prefix).unwrap_or(text).to_owned()
        })
    }),
    ("trimSuffix", |args| {
        with(args, "trimSuffix", |suffix, text| {
            text.strip_suffix(suffix).unwrap_or(text).to_owned()
        })
    }),
    ("hasPrefix", |args| {
        with(args, "hasPrefix", |prefix, text| text.starts_with(prefix))
    }),
    ("hasSuffix", |args| {
        with(args, "hasSuffix", |suffix, text| text.ends_with(suffix))
    }),
    ("contains", |args| {
        with(args, "contains", |part, text| text.contains(part))
    }),
    ("lower", |args| Ok(Value::from(text("lower", args, 0)?.to_lowercase()))),
    ("upper", |args| Ok(Value::from(text("upper", args, 0)?.to_uppercase()))),
    ("nospace", |args| {
        Ok(Value::from(text("nospace", args, 0)?.replace(char::is_whitespace, "")))
    }),
    ("replace", replace),
    ("repeat", repeat),
    ("trunc", trunc),
    ("substr", substr),
    ("indent", |args| Ok(Value::from(indented("indent", args)?))),
    ("nindent", |args| {
        Ok(Value::from(format!("\n{}", indented("nindent", args)?)))
    }),
    ("splitList", split_list),
    ("join", join),
    ("b64enc", |args| base64(text("b64enc", args, 0)?.into_bytes())),
    ("b64dec", b64dec),
    ("sha256sum", sha256sum),
];

/// Text of the argument at `position`; a missing parameter is the empty text.
fn text(function: &str, args: &[Value], position: usize) -> Result<String, FuncError> {
    Ok(shown(arg(function, args, position)?))
}

fn shown(value: &Value) -> String {
    match value {
        Value::NoValue | Value::Nil => String::new(),
        value => value.to_string(),
    }
}

fn with<R: Into<Value>>(args: &[Value], function: &str, apply: fn(&str, &str) -> R) -> Result<Value, FuncError> {
    Ok(apply(&text(function, args, 0)?, &text(function, args, 1)?).into())
}

fn each(args: &[Value], apply: fn(&Value) -> Result<String, FuncError>) -> Result<Value, FuncError> {
    let given = args.iter().filter(|value| !matches!(value, Value::Nil));
    let given = given.map(|value| {
        if matches!(value, Value::NoValue) {
            Value::from("")
        } else {
            value.clone()
        }
    });
    let quoted = given.map(|value| apply(&value)).collect::<Result<Vec<_>, _>>()?;
    Ok(Value::from(quoted.join(" ")))
}

fn go_quoted(value: &Value) -> Result<String, FuncError> {
    Ok(funcs::printf(&[Value::from("%q"), Value::from(value.to_string())])?.to_string())
}

fn to_json(args: &[Value]) -> Result<Value, FuncError> {
    Ok(Value::from(json(arg("toJson", args, 0)?).to_string()))
}

fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::NoValue | Value::Nil | Value::Function(_) => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::String(text) => text.clone().into(),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => number.into(),
            (None, Some(number)) => number.into(),
            (None, None) => number.as_f64().into(),
        },
        Value::Array(items) => items.iter().map(json).collect(),
        Value::Map(entries) | Value::Object(entries) => {
            let mut sorted: Vec<_> = entries.iter().collect();
            sorted.sort_unstable_by_key(|(key, _)| *key);
            sorted
                .into_iter()
                .map(|(key, value)| (key.clone(), json(value)))
                .collect()
        }
    }
}

/// Refuses before it allocates: the engine judges a value only once it is there.
fn bounded(function: &str, length: Option<usize>) -> Result<(), FuncError> {
    let length = length.unwrap_or(usize::MAX);
    if length <= super::MAX_VALUE {
        return Ok(());
    }
    Err(FuncError::TooMuchOutput {
        function: function.to_owned(),
        count: length,
        what: "bytes".to_owned(),
        limit: super::MAX_VALUE,
    })
}

fn replace(args: &[Value]) -> Result<Value, FuncError> {
    let (old, new, source) = (
        text("replace", args, 0)?,
        text("replace", args, 1)?,
        text("replace", args, 2)?,
    );
    let hits = if old.is_empty() {
        source.chars().count() + 1
    } else {
        source.matches(old.as_str()).count()
    };
    bounded(
        "replace",
        hits.checked_mul(new.len())
            .and_then(|more| more.checked_add(source.len())),
    )?;
    Ok(Value::from(source.replace(old.as_str(), &new)))
}

fn repeat(args: &[Value]) -> Result<Value, FuncError> {
    let count = usize::try_from(number(arg("repeat", args, 0)?)).unwrap_or(0);
    let source = text("repeat", args, 1)?;
    bounded("repeat", source.len().checked_mul(count))?;
    Ok(Value::from(source.repeat(count)))
}

/// A negative length keeps the end, as sprig does. Counts characters, so that no text is cut inside one.
fn trunc(args: &[Value]) -> Result<Value, FuncError> {
    let length = number(arg("trunc", args, 0)?);
    let source = text("trunc", args, 1)?;
    let keep = usize::try_from(length.unsigned_abs()).unwrap_or(usize::MAX);
    let total = source.chars().count();
    let skip = if length < 0 { total.saturating_sub(keep) } else { 0 };
    Ok(Value::from(source.chars().skip(skip).take(keep).collect::<String>()))
}

/// Characters from `start` up to `end`; negative: from the beginning, to the end.
fn substr(args: &[Value]) -> Result<Value, FuncError> {
    let at = |position| Ok::<_, FuncError>(number(arg("substr", args, position)?));
    let (start, end) = (
        usize::try_from(at(0)?).unwrap_or(0),
        usize::try_from(at(1)?).unwrap_or(usize::MAX),
    );
    let source = text("substr", args, 2)?;
    Ok(Value::from(
        source
            .chars()
            .skip(start)
            .take(end.saturating_sub(start))
            .collect::<String>(),
    ))
}

fn indented(function: &str, args: &[Value]) -> Result<String, FuncError> {
    let width = usize::try_from(number(arg(function, args, 0)?)).unwrap_or(0);
    let source = text(function, args, 1)?;
    let lines = source.matches('\n').count() + 1;
    bounded(
        function,
        lines.checked_mul(width).and_then(|more| more.checked_add(source.len())),
    )?;
    let pad = " ".repeat(width);
    Ok(format!("{pad}{}", source.replace('\n', &format!("\n{pad}"))))
}

fn split_list(args: &[Value]) -> Result<Value, FuncError> {
    let (separator, source) = (text("splitList", args, 0)?, text("splitList", args, 1)?);
    let parts: Vec<String> = if separator.is_empty() {
        source.chars().map(String::from).collect()
    } else {
        source.split(separator.as_str()).map(str::to_owned).collect()
    };
    Ok(Value::from(parts))
}

fn join(args: &[Value]) -> Result<Value, FuncError> {
    let separator = text("join", args, 0)?;
    let parts: Vec<String> = items("join", args, 1)?.iter().map(shown).collect();
    Ok(Value::from(parts.join(&separator)))
}

fn base64(bytes: Vec<u8>) -> Result<Value, FuncError> {
    match serde_json::to_value(ByteString(bytes)) {
        Ok(serde_json::Value::String(text)) => Ok(Value::from(text)),
        _ => Err(FuncError::UnableToConvertFromValue),
    }
}

fn b64dec(args: &[Value]) -> Result<Value, FuncError> {
    let decoded: Result<ByteString, _> = serde_json::from_value(text("b64dec", args, 0)?.into());
    let text = decoded.ok().and_then(|bytes| String::from_utf8(bytes.0).ok());
    text.map(Value::from).ok_or(FuncError::UnableToConvertFromValue)
}

fn sha256sum(args: &[Value]) -> Result<Value, FuncError> {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(text("sha256sum", args, 0)?) {
        let _ = write!(hex, "{byte:02x}");
    }
    Ok(Value::from(hex))
}
