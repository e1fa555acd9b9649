//! Docker's filters forward nothing that it does not know. It has a chain for what administrators allow
//! besides; there our bridges get a rule each way, marked as ours.

use std::io;

use super::names::table_name;
use super::nft::run;

const CHAIN: &str = "DOCKER-USER";

/// Lets what comes from `bridges`, and answers to it, through the Docker Engine's filters, where there
/// are any. Exactly these: rules for bridges that are not named are removed.
///
/// This is about Docker's filters alone. What may pass is decided by [`filter`](super::filter), whose
/// refusals no other table can turn into permission.
///
/// # Errors
/// A warning for people: what will not work, and what to do.
pub fn allow_through_docker(instance: &str, bridges: &[String]) -> Result<(), String> {
    let found = rules().map_err(|error| warning(&error))?;
    let Some(found) = found else { return Ok(()) };
    let mark = table_name(instance);
    let wanted: Vec<Vec<String>> = bridges.iter().flat_map(|bridge| rules_for(bridge, &mark)).collect();
    let ours = found.iter().filter(|rule| is_marked(rule, &mark));
    // A rule is recognised by its interface: iptables prints other details in its own way.
    let interfaces: Vec<&str> = bridges.iter().map(String::as_str).collect();
    let mut present = Vec::new();
    for rule in ours {
        match interface_of(rule) {
            Some(key) if interfaces.contains(&key.1) && !present.contains(&key) => present.push(key),
            _ => change("-D", rule).map_err(|error| warning(&error))?,
        }
    }
    for rule in wanted.iter().filter(|rule| interface_of(rule).is_none_or(|key| !present.contains(&key))) {
        change("-I", rule).map_err(|error| warning(&error))?;
    }
    Ok(())
}

/// The specifications of the chain's rules, or `None` where there is no such chain, or no iptables.
fn rules() -> io::Result<Option<Vec<Vec<String>>>> {
    let output = match run("iptables", &["-w", "5", "-S", CHAIN], "") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    if !output.status.success() {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(Some(text.lines().filter_map(|line| line.strip_prefix("-A ")).filter_map(specification).collect()))
}

/// A line without the chain's name, as words. Only comments are quoted, and ours have no spaces.
fn specification(line: &str) -> Option<Vec<String>> {
    let rest = line.strip_prefix(CHAIN)?;
    Some(rest.split_whitespace().map(|word| word.trim_matches('"').to_owned()).collect())
}

fn rules_for(bridge: &str, mark: &str) -> [Vec<String>; 2] {
    let comment = ["-m", "comment", "--comment", mark, "-j", "ACCEPT"];
    let out = ["-i", bridge].into_iter().chain(comment);
    let back = ["-o", bridge, "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED"].into_iter().chain(comment);
    [out.map(str::to_owned).collect(), back.map(str::to_owned).collect()]
}

fn is_marked(rule: &[String], mark: &str) -> bool {
    rule.windows(2).any(|pair| matches!(pair, [key, value] if key == "--comment" && value == mark))
}

/// The direction and the interface of a rule.
fn interface_of(rule: &[String]) -> Option<(&str, &str)> {
    rule.windows(2).find_map(|pair| match pair {
        [key, value] if key == "-i" || key == "-o" => Some((key.as_str(), value.as_str())),
        _ => None,
    })
}

fn change(how: &str, rule: &[String]) -> io::Result<()> {
    let mut arguments = vec!["-w", "5", how, CHAIN];
    arguments.extend(rule.iter().map(String::as_str));
    let output = run("iptables", &arguments, "")?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

fn warning(error: &io::Error) -> String {
    format!(
        "Docker's packet filters could not be told of the private network ({error}): processes may not reach the \
         outside; allow their bridges (lr+) in iptables' chain {CHAIN}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_rule_is_recognised() {
        let line =
            "-A DOCKER-USER -o lr1 -m conntrack --ctstate RELATED,ESTABLISHED -m comment --comment lr_x -j ACCEPT";
        let rule = specification(line.strip_prefix("-A ").unwrap()).unwrap();
        assert_eq!(rule, rules_for("lr1", "lr_x")[1]);
        assert!(is_marked(&rule, "lr_x") && !is_marked(&rule, "lr_y"));
        assert_eq!(interface_of(&rule), Some(("-o", "lr1")));
    }
}
