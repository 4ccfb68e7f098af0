//! Lists: paging, the `q` grammar and sorting.

use serde_json::Value;

use super::{
    call::Call,
    reply::{Answer, Reply, unprocessable},
};

const PAGE_SIZE_MAX: i64 = 100;

/// Answers a list with one page of it. `items` come in the default order; `keys` are the fields that `q` and
/// `sort` know, all others are ignored (seen on v2.9.5).
pub(crate) fn list(call: &Call, mut items: Vec<Value>, keys: &[&str]) -> Answer {
    if let Some(q) = call.param("q") {
        for (key, wanted) in q.split(',').filter_map(|pair| pair.split_once('=')) {
            if keys.contains(&key) {
                items.retain(|item| holds(&item[key], wanted));
            }
        }
    }
    sort(&mut items, call.param("sort").as_deref(), keys);
    page(call, &items)
}

/// Answers one page of the items as they are.
pub(crate) fn page(call: &Call, items: &[Value]) -> Answer {
    let number = call.number("page")?.unwrap_or(1);
    let size = call.number("page_size")?.unwrap_or(10);
    if size > PAGE_SIZE_MAX {
        return Err(unprocessable(
            "page_size in query should be less than or equal to 100",
        ));
    }
    let total = items.len() as i64;
    let (from, until) = if size <= 0 {
        (0, total)
    } else {
        ((number - 1) * size, number * size)
    };
    let shown: Vec<Value> = items
        .iter()
        .skip(from.max(0) as usize)
        .take((until - from.max(0)).max(0) as usize)
        .cloned()
        .collect();
    let mut links = Vec::new();
    if size != 0 && number > 1 {
        links.push(format!(
            "<{}>; rel=\"prev\"",
            address(call, number - 1, size)
        ));
    }
    // A size of -1 shows everything and links to a next page all the same (seen on v2.9.5).
    if size != 0 && number * size < total {
        links.push(format!(
            "<{}>; rel=\"next\"",
            address(call, number + 1, size)
        ));
    }
    let mut reply = Reply::json(&Value::Array(shown)).with("x-total-count", total.to_string());
    if !links.is_empty() {
        reply = reply.with("link", links.join(" , "));
    }
    Ok(reply)
}

fn address(call: &Call, number: i64, size: i64) -> String {
    let mut pairs: Vec<(String, String)> = call
        .params()
        .into_iter()
        .filter(|(key, _)| key != "page" && key != "page_size")
        .collect();
    pairs.push(("page".to_owned(), number.to_string()));
    pairs.push(("page_size".to_owned(), size.to_string()));
    pairs.sort();
    let query: Vec<String> = pairs
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    format!("{}?{}", call.path, query.join("&"))
}

fn holds(value: &Value, wanted: &str) -> bool {
    let plain = match value {
        Value::String(text) => text.clone(),
        // Flags that are false are not shown.
        Value::Null => "false".to_owned(),
        other => other.to_string(),
    };
    let quoted = |text: &str| text.trim_matches(['\'', '"']).to_owned();
    if let Some(part) = wanted.strip_prefix('~') {
        plain.contains(&quoted(part))
    } else if let Some(inner) = wanted
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
    {
        inner.split_whitespace().any(|one| quoted(one) == plain)
    } else if let Some((low, high)) = wanted
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .and_then(|inner| inner.split_once('~'))
    {
        let number = |text: &str| text.trim().parse::<f64>().ok();
        match (number(&plain), number(low), number(high)) {
            (Some(value), Some(low), Some(high)) => low <= value && value <= high,
            _ => {
                (low.is_empty() || low <= plain.as_str())
                    && (high.is_empty() || plain.as_str() <= high)
            }
        }
    } else {
        quoted(wanted) == plain
    }
}

fn sort(items: &mut [Value], by: Option<&str>, keys: &[&str]) {
    for key in by.unwrap_or_default().split(',').rev() {
        let (key, descending) = key
            .strip_prefix('-')
            .map_or((key, false), |key| (key, true));
        if !keys.contains(&key) {
            continue;
        }
        items.sort_by(|a, b| {
            let order = match (a[key].as_i64(), b[key].as_i64()) {
                (Some(a), Some(b)) => a.cmp(&b),
                _ => a[key]
                    .as_str()
                    .unwrap_or_default()
                    .cmp(b[key].as_str().unwrap_or_default()),
            };
            if descending { order.reverse() } else { order }
        });
    }
}
