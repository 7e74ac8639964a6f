//! Functions over values of any kind: defaults, choices, collections, numbers, and the builtins of Go that have to know
//! what a missing parameter is.

use std::collections::HashMap;

use gtmpl_ng::{Func, FuncError, Value, funcs};

use super::SAID;

/// Functions by the name that sprig and Go give them. Builtins listed here replace the engine's.
pub(super) const FUNCTIONS: &[(&str, Func)] = &[
    ("default", default),
    ("empty", |args| Ok(Value::from(is_empty(arg("empty", args, 0)?)))),
    ("coalesce", |args| {
        Ok(args
            .iter()
            .find(|value| !is_empty(value))
            .cloned()
            .unwrap_or(Value::NoValue))
    }),
    ("ternary", ternary),
    ("required", required),
    ("fail", fail),
    ("index", index),
    ("get", get),
    ("hasKey", has_key),
    ("keys", keys),
    ("dict", |args| Ok(dict(args))),
    ("list", |args| Ok(Value::Array(args.to_vec()))),
    ("first", |args| {
        Ok(items("first", args, 0)?.first().cloned().unwrap_or(Value::NoValue))
    }),
    ("last", |args| {
        Ok(items("last", args, 0)?.last().cloned().unwrap_or(Value::NoValue))
    }),
    ("has", has),
    ("int", |args| Ok(Value::from(number(arg("int", args, 0)?)))),
    ("int64", |args| Ok(Value::from(number(arg("int64", args, 0)?)))),
    ("atoi", |args| Ok(Value::from(number(arg("atoi", args, 0)?)))),
    ("add", |args| fold("add", args, i64::checked_add)),
    ("sub", |args| fold("sub", args, i64::checked_sub)),
    ("mul", |args| fold("mul", args, i64::checked_mul)),
    ("div", |args| fold("div", args, i64::checked_div)),
    ("mod", |args| fold("mod", args, i64::checked_rem)),
    ("max", |args| fold("max", args, |a, b| Some(a.max(b)))),
    ("min", |args| fold("min", args, |a, b| Some(a.min(b)))),
    ("printf", |args| funcs::printf(&present(args))),
    ("print", |args| funcs::print(&present(args))),
    ("println", |args| funcs::println(&present(args))),
    ("eq", |args| funcs::eq(&present(args))),
    ("ne", |args| funcs::ne(&present(args))),
    ("len", |args| funcs::len(&present(args))),
];

/// The argument at `position`, or an error that names the function.
pub(super) fn arg<'a>(function: &str, args: &'a [Value], position: usize) -> Result<&'a Value, FuncError> {
    args.get(position)
        .ok_or_else(|| FuncError::AtLeastXArgs(function.to_owned(), position + 1))
}

/// The elements of a list argument; nothing for a missing one.
pub(super) fn items<'a>(function: &str, args: &'a [Value], position: usize) -> Result<&'a [Value], FuncError> {
    match arg(function, args, position)? {
        Value::Array(items) => Ok(items),
        Value::NoValue | Value::Nil => Ok(&[]),
        _ => Err(FuncError::UnableToConvertFromValue),
    }
}

/// A whole number from whatever the value is, 0 when it is none, as sprig reads it.
pub(super) fn number(value: &Value) -> i64 {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().map(truncate)).unwrap_or(0),
        Value::String(text) => text.trim().parse().unwrap_or(0),
        Value::Bool(true) => 1,
        _ => 0,
    }
}

/// Towards zero, saturating at the ends of the range.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the language defines the cast as saturating, which is what is wanted"
)]
fn truncate(number: f64) -> i64 {
    number as i64
}

/// Sprig's emptiness: nothing, false, zero, or without elements.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::NoValue | Value::Nil => true,
        Value::Bool(value) => !value,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Map(entries) | Value::Object(entries) => entries.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0) || number.as_f64() == Some(0.0),
        Value::Function(_) => false,
    }
}

/// Arguments as a map of strings in Go would give them: a missing key is the empty text.
fn present(args: &[Value]) -> Vec<Value> {
    let filled = |value: &Value| {
        if matches!(value, Value::NoValue) {
            Value::from("")
        } else {
            value.clone()
        }
    };
    args.iter().map(filled).collect()
}

fn default(args: &[Value]) -> Result<Value, FuncError> {
    let fallback = arg("default", args, 0)?;
    Ok(args.get(1).filter(|value| !is_empty(value)).unwrap_or(fallback).clone())
}

fn ternary(args: &[Value]) -> Result<Value, FuncError> {
    let chosen = usize::from(is_empty(arg("ternary", args, 2)?));
    Ok(args[chosen].clone())
}

fn required(args: &[Value]) -> Result<Value, FuncError> {
    let value = arg("required", args, 1)?;
    if is_empty(value) {
        return Err(FuncError::Generic(format!("{SAID}{}", args[0])));
    }
    Ok(value.clone())
}

fn fail(args: &[Value]) -> Result<Value, FuncError> {
    Err(FuncError::Generic(format!("{SAID}{}", arg("fail", args, 0)?)))
}

fn index(args: &[Value]) -> Result<Value, FuncError> {
    let found = funcs::index(args)?;
    Ok(if matches!(found, Value::NoValue) {
        Value::from("")
    } else {
        found
    })
}

fn entries<'a>(function: &str, args: &'a [Value]) -> Result<&'a HashMap<String, Value>, FuncError> {
    match arg(function, args, 0)? {
        Value::Map(entries) | Value::Object(entries) => Ok(entries),
        _ => Err(FuncError::UnableToConvertFromValue),
    }
}

fn get(args: &[Value]) -> Result<Value, FuncError> {
    let key = arg("get", args, 1)?.to_string();
    Ok(entries("get", args)?
        .get(&key)
        .cloned()
        .unwrap_or_else(|| Value::from("")))
}

fn has_key(args: &[Value]) -> Result<Value, FuncError> {
    let key = arg("hasKey", args, 1)?.to_string();
    Ok(Value::from(entries("hasKey", args)?.contains_key(&key)))
}

/// In order, unlike sprig's, so that rendering is repeatable.
fn keys(args: &[Value]) -> Result<Value, FuncError> {
    let mut keys: Vec<String> = entries("keys", args)?.keys().cloned().collect();
    keys.sort_unstable();
    Ok(Value::from(keys))
}

/// Keys and values in turn; a last key without a value has the empty text.
fn dict(args: &[Value]) -> Value {
    let value = |pair: &[Value]| pair.get(1).cloned().unwrap_or_else(|| Value::from(""));
    let pairs = args.chunks(2).map(|pair| (pair[0].to_string(), value(pair)));
    Value::Map(pairs.collect())
}

fn has(args: &[Value]) -> Result<Value, FuncError> {
    let wanted = arg("has", args, 0)?;
    Ok(Value::from(items("has", args, 1)?.contains(wanted)))
}

fn fold(function: &str, args: &[Value], step: fn(i64, i64) -> Option<i64>) -> Result<Value, FuncError> {
    let mut result = number(arg(function, args, 0)?);
    for value in &args[1..] {
        // Division by zero and overflow alike: no number is the answer.
        result = step(result, number(value)).ok_or(FuncError::UnableToConvertFromValue)?;
    }
    Ok(Value::from(result))
}
