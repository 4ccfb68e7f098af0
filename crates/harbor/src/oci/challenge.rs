//! The `WWW-Authenticate` header.

/// What a registry asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// A token of this service.
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
    /// User and password.
    Basic,
}

impl Challenge {
    /// Reads a header. Harbor sometimes sends it empty: that is `None`.
    pub(crate) fn parse(header: &str) -> Option<Challenge> {
        let (scheme, rest) = header.trim().split_once(char::is_whitespace)?;
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Challenge::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let mut realm = None;
        let (mut service, mut scope) = (None, None);
        for (key, value) in parameters(rest) {
            match key.to_ascii_lowercase().as_str() {
                "realm" => realm = Some(value),
                "service" => service = Some(value),
                "scope" => scope = Some(value),
                _ => {}
            }
        }
        Some(Challenge::Bearer {
            realm: realm?,
            service,
            scope,
        })
    }
}

/// Reads `key="value", key=value`. Commas within quotes belong to the value: a scope has them.
fn parameters(mut text: &str) -> Vec<(&str, String)> {
    let mut found = Vec::new();
    while let Some((key, rest)) = text.split_once('=') {
        let key = key.trim_start_matches([',', ' ', '\t']).trim();
        let rest = rest.trim_start();
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut value = String::new();
            let mut chars = quoted.char_indices();
            let mut end = quoted.len();
            while let Some((at, c)) = chars.next() {
                match c {
                    '"' => {
                        end = at + 1;
                        break;
                    }
                    '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
                    c => value.push(c),
                }
            }
            found.push((key, value));
            text = &quoted[end..];
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            found.push((key, rest[..end].trim().to_owned()));
            text = &rest[end..];
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Some(Challenge::Bearer {
            realm: realm.into(),
            service: own(service),
            scope: own(scope),
        })
    }

    #[test]
    fn challenges() {
        for (header, challenge) in [
            (
                "Bearer realm=\"http://127.0.0.1:18080/service/token\",service=\"harbor-registry\"",
                bearer(
                    "http://127.0.0.1:18080/service/token",
                    Some("harbor-registry"),
                    None,
                ),
            ),
            (
                "bearer realm=\"https://h/t\", service=x , scope=\"repository:a/b:pull,push\"",
                bearer("https://h/t", Some("x"), Some("repository:a/b:pull,push")),
            ),
            ("Bearer realm=\"a\\\"b\"", bearer("a\"b", None, None)),
            ("Basic realm=\"harbor\"", Some(Challenge::Basic)),
            ("Bearer service=\"x\"", None),
            ("Digest realm=\"x\"", None),
            ("", None),
            ("Bearer", None),
        ] {
            assert_eq!(Challenge::parse(header), challenge, "{header}");
        }
    }
}
