use super::super::scratch::environment;
use super::super::sheet::Context;
use super::*;
use std::path::Path;

/// Reads `text` with `look` and returns what was found wrong, as `LINE KEY: WRONG | ADVICE`.
fn found(text: &str, look: impl Fn(&Section<'_>)) -> Vec<String> {
    let environment = environment();
    let variables = BTreeMap::from([("A".to_owned(), "from-file".to_owned())]);
    let context = Context { dir: Path::new("/"), environment: &environment, variables, frozen: false, accepted: false };
    let sheet = Sheet::new(&context, "f.toml".into(), text);
    let table = sheet.parse(text).unwrap_or_default();
    look(&Section::new(&sheet, "", &table));
    let line = |line: Option<usize>| line.map_or("-".to_owned(), |line| line.to_string());
    let (problems, _) = sheet.findings();
    problems.iter().map(|p| format!("{} {}: {} | {}", line(p.line), p.key, p.wrong, p.advice)).collect()
}

#[test]
fn good_values_come_out_typed() {
    let text = "s = \"${A} ${FROM_PROCESS}\"\nb = true\ni = 7\nd = \"1h30m\"\nz = \"0s\"\nsize = \"10MiB\"\nl = [\"x\", \"${A}\"]\n\
                w = \"two\"\nsh = \"echo ${HOME} ${X} $${B} ${A}\"\nargv = [\"a\", \"-b\"]\nenv = { X = \"1\" }\n[t]\nk = 1\n\
                [[many]]\n[[many]]\nk = 2\n[named.a]\n[named.b]\n";
    let problems = found(text, |root| {
        assert_eq!(root.string("s").as_deref(), Some("from-file process"));
        assert_eq!(root.boolean("b"), Some(true));
        assert_eq!(root.integer("i", 0, 9), Some(7));
        assert_eq!(root.positive_duration("d"), Some(Duration::from_secs(5400)));
        assert_eq!(root.duration("z"), Some(Duration::ZERO));
        assert_eq!(root.size("size"), Some(Bytes(10 << 20)));
        assert_eq!(root.list("l", |text| Ok(text.len())), Some(vec![1, 9]));
        assert_eq!(root.word("w", &[("one", 1), ("two", 2)]), Some(2));
        let shell = "echo ${HOME} ${X} ${B} from-file";
        assert_eq!(root.command("sh"), Some(Command::Shell(shell.into())), "the shell's names stay");
        assert_eq!(root.command("argv"), Some(Command::Argv(vec!["a".into(), "-b".into()])));
        assert_eq!(root.env("env"), BTreeMap::from([("X".to_owned(), "1".to_owned())]));
        assert_eq!(root.table("t").unwrap().integer("k", 0, 9), Some(1));
        let many = root.tables("many");
        assert_eq!((many.len(), many[1].integer("k", 0, 9)), (2, Some(2)));
        assert_eq!(root.named_tables("named").iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(root.string("absent"), None);
    });
    assert_eq!(problems, [""; 0]);
}

#[test]
fn a_wrong_value_names_its_line_both_types_and_what_to_write() {
    type Look = fn(&Section<'_>) -> bool;
    let table: [(&str, Look, &str); 18] = [
        ("k = 5", |s| s.string("k").is_none(), "1 k: is a number, not a string | put it in double quotes"),
        (
            "\nk = 300",
            |s| s.duration("k").is_none(),
            "2 k: is a number without a unit, not a span of time | write \"300s\"",
        ),
        (
            "k = \"0s\"",
            |s| s.positive_duration("k").is_none(),
            "1 k: is no time at all | write a span above zero, as in \"30s\"",
        ),
        (
            "k = \"yes\"",
            |s| s.boolean("k").is_none(),
            "1 k: is a string, not true or false | write true or false, without quotes",
        ),
        ("k = 99", |s| s.integer("k", 0, 19).is_none(), "1 k: is 99 | write a number from 0 to 19"),
        (
            "k = 1.5",
            |s| s.integer("k", 0, 19).is_none(),
            "1 k: is a number, not a whole number | write a number without quotes or a point",
        ),
        (
            "k = \"10\"",
            |s| s.size("k").is_none(),
            "1 k: \"10\" is not a size | write a number and B, KiB, MiB or GiB, as in \"10MiB\"",
        ),
        (
            "k = \"pussh\"",
            |s| s.word("k", &[("push", 1)]).is_none(),
            "1 k: \"pussh\" is not one of the words known here | write \"push\"",
        ),
        (
            "k = \"x\"",
            |s| s.list("k", |t| Ok(t.len())).is_none(),
            "1 k: is a string, not a list of strings | write a list, also for one: [\"...\"]",
        ),
        (
            "k = [\n\"a\",\n1]",
            |s| s.list("k", |t| Ok(t.len())) == Some(vec![1]),
            "3 k[2]: is a number, not a string | put it in double quotes",
        ),
        (
            "k = {}",
            |s| s.command("k").is_none(),
            "1 k: is a table, not a command | write \"a line for the shell\" or [\"program\", \"argument\"]",
        ),
        (
            "k = []",
            |s| s.command("k").is_none(),
            "1 k: names no program | write program and arguments: [\"python3\", \"app.py\"]",
        ),
        ("k = 1", |s| s.table("k").is_none(), "1 k: is a number, not a table | write [k] and its keys below it"),
        (
            "[k]",
            |s| s.tables("k").is_empty(),
            "1 k: is a table, not a list of tables | write [[k]] with two brackets on each side, once for each",
        ),
        (
            "[[s]]\n[[s]]\nk = 1",
            |s| s.tables("s").iter().all(|s| s.string("k").is_none()),
            "3 s[2].k: is a number, not a string | put it in double quotes",
        ),
        (
            "env = { PORT = 1 }",
            |s| s.env("env").is_empty(),
            "1 env.PORT: is a number, not a string | put the value in double quotes; for a secret write \"${PORT}\" and put PORT into pintle.env",
        ),
        (
            "env = { LISTEN_FDS = \"1\" }",
            |s| s.env("env").is_empty(),
            "1 env.LISTEN_FDS: is set by Pintle itself | leave it out, or choose another name",
        ),
        (
            "k = \"${NO}\"",
            |s| s.string("k").is_none(),
            "1 k: ${NO} is set neither in pintle.env nor in the environment | put NO=... into pintle.env beside pintle.toml; for ${...} as it stands write $${NO}",
        ),
    ];
    for (text, look, problem) in table {
        let problems = found(text, |s| assert!(look(s), "{text}: a value comes out"));
        assert_eq!(problems, [problem], "{text}");
    }
}

#[test]
fn unknown_keys_are_found_wherever_they_are() {
    let problems = found("timout = 1\n[deploy]\nnicee = 1\nzzz = 2\n", |root| {
        root.value("timeout");
        let deploy = root.table("deploy").unwrap();
        deploy.value("nice");
    });
    assert_eq!(
        problems,
        [
            "1 timout: is not a known key | write timeout",
            "3 deploy.nicee: is not a known key | write nice",
            "4 deploy.zzz: is not a known key | known here: nice",
        ]
    );
}

#[test]
fn a_syntax_error_is_one_problem_and_quotes_nothing() {
    let problems = found("a = 1\nb = \"secretword\nc = 2\n", |_| {});
    assert_eq!(problems.len(), 1);
    assert!(problems[0].starts_with("2 : is not valid TOML: "), "{problems:?}");
    assert!(!problems[0].contains("secretword"), "{problems:?}");
}

#[test]
fn a_problem_quotes_what_is_written_and_not_what_it_stands_for() {
    let problems = found("k = \"${A}\"\n", |root| assert_eq!(root.duration("k"), None));
    assert!(problems[0].starts_with("1 k: \"${A}\" is not a span"), "{problems:?}");
}
