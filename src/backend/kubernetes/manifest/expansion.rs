//! Kubernetes replaces `$(NAME)` in commands, arguments and values of variables, and `$$` by `$`. What comes
//! from a ci.yml is meant as it stands.

/// A text that Kubernetes makes `text` of.
pub(super) fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, run) = rest.split_at(at);
        let dollars = run.bytes().take_while(|b| *b == b'$').count();
        let after = &run[dollars..];
        out.push_str(before);
        // A single one before anything but a parenthesis stays as it is.
        let doubled = dollars > 1 || after.starts_with('(');
        out.extend(std::iter::repeat_n('$', if doubled { 2 * dollars } else { dollars }));
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As `third_party/forked/golang/expansion` of Kubernetes, where every variable is known.
    fn expand(input: &str) -> String {
        let (bytes, mut out, mut at) = (input.as_bytes(), Vec::new(), 0);
        while at < bytes.len() {
            if bytes[at] != b'$' || at + 1 == bytes.len() {
                out.push(bytes[at]);
                at += 1;
                continue;
            }
            match bytes[at + 1] {
                b'$' => {
                    out.push(b'$');
                    at += 2;
                }
                b'(' => match bytes[at + 2..].iter().position(|b| *b == b')') {
                    Some(end) => {
                        out.extend(b"EXPANDED");
                        at += 3 + end;
                    }
                    None => {
                        out.extend(b"$(");
                        at += 2;
                    }
                },
                other => {
                    out.extend([b'$', other]);
                    at += 2;
                }
            }
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn only_what_would_change_is_escaped() {
        for (text, escaped) in [
            ("plain", "plain"),
            ("$HOME ${X} $1 $", "$HOME ${X} $1 $"),
            ("$(date)", "$$(date)"),
            ("kill $$", "kill $$$$"),
            ("$$(x)", "$$$$(x)"),
            ("ä$(ö)", "ä$$(ö)"),
        ] {
            assert_eq!(literal(text), escaped);
        }
    }

    proptest! {
        #[test]
        fn kubernetes_reads_the_text_itself(text in "[$()aä{} ]{0,24}") {
            prop_assert_eq!(expand(&literal(&text)), text);
        }
    }
}
