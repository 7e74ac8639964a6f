use super::*;

fn values() -> Values {
    let parameters = [
        ("bucket", "b1"),
        ("region", "cn-north-1"),
        ("secret", "s3cr3t-\"value\""),
        ("zero", "0"),
    ];
    Values {
        parameters: parameters.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        secret_name: "secret-r-abcdef".to_owned(),
        secret_namespace: "holdfast".to_owned(),
        storage_class: "sc-r-abcdef".to_owned(),
    }
}

fn shown(text: &str) -> String {
    match render("t", text, &values()) {
        Ok(text) => text,
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn the_language_is_gos() {
    let table = [
        ("plain", "plain"),
        (r#"{{ index .Parameters "bucket" }}"#, "b1"),
        (r#"{{ index .Parameters "nothing" }}"#, ""),
        ("{{ .Parameters.bucket }}", "b1"),
        ("[{{ .Parameters.nothing }}]", "[]"),
        (r#"{{ .Parameters.nothing | default "d" }}"#, "d"),
        (r#"{{ .Parameters.bucket | default "d" }}"#, "b1"),
        (r#"{{ default "d" .Parameters.nothing }}"#, "d"),
        ("{{ if .Parameters.nothing }}y{{ else }}n{{ end }}", "n"),
        (r#"{{ if eq .Parameters.nothing "" }}y{{ else }}n{{ end }}"#, "y"),
        (r#"{{ if eq .Parameters.bucket "b1" "b2" }}y{{ end }}"#, "y"),
        (
            r#"{{ printf "https://s3.%s.example" .Parameters.region }}"#,
            "https://s3.cn-north-1.example",
        ),
        (r#"{{ printf "[%s]" .Parameters.nothing }}"#, "[]"),
        (r#"{{ printf "%q" .Parameters.secret }}"#, r#""s3cr3t-\"value\"""#),
        (
            "{{- $v := .Parameters.nothing }}\n{{- if not $v }}{{- $v = \"set\" }}{{- end }}{{ $v }}",
            "set",
        ),
        (
            r#"{{ if hasPrefix "cn-" .Parameters.region }}.com.cn{{ else }}.com{{ end }}"#,
            ".com.cn",
        ),
        ("a\n{{- /* gone */ -}}\nb", "ab"),
        (
            r"{{ range $k, $v := .Parameters }}{{ $k }} {{ end }}",
            "bucket region secret zero ",
        ),
        (
            "{{ .CSIDriverSecretRef.Name }}/{{ .CSIDriverSecretRef.Namespace }}",
            "secret-r-abcdef/holdfast",
        ),
        ("{{ .GeneratedStorageClassName }}", "sc-r-abcdef"),
        (
            r#"{{ with .Parameters.bucket }}{{ . | upper | printf "%s!" }}{{ end }}"#,
            "B1!",
        ),
    ];
    for (template, expected) in table {
        assert_eq!(shown(template), expected, "{template}");
    }
}

#[test]
fn functions_answer_as_sprigs_do() {
    let table = [
        (
            r#"{{ empty .Parameters.nothing }} {{ empty "" }} {{ empty 0 }} {{ empty false }} {{ empty "0" }}"#,
            "true true true true false",
        ),
        (r#"{{ coalesce .Parameters.nothing "" "x" "y" }}"#, "x"),
        (r#"{{ ternary "a" "b" true }}{{ ternary "a" "b" false }}"#, "ab"),
        (r#"{{ true | ternary "a" "b" }}"#, "a"),
        (r#"{{ quote "a\"b" .Parameters.nothing 3 }}"#, r#""a\"b" "" "3""#),
        (r#"{{ squote "a" }}"#, "'a'"),
        ("{{ toString 3 }}{{ .Parameters.nothing | toString }}", "3"),
        (
            r#"{{ trim "  a " }}{{ trimAll "/" "/a/" }}{{ trimPrefix "a" "ab" }}{{ trimSuffix "/" "c//" }}"#,
            "aabc/",
        ),
        (
            r#"{{ hasSuffix "b" "ab" }} {{ contains "b" "abc" }} {{ contains "x" .Parameters.nothing }}"#,
            "true true false",
        ),
        (r#"{{ lower "AB" }}{{ upper "ab" }}{{ nospace " a b " }}"#, "abABab"),
        (r#"{{ "a-b-c" | replace "-" "." }}"#, "a.b.c"),
        (r#"{{ repeat 3 "ab" }}{{ repeat -1 "x" }}"#, "ababab"),
        (r#"{{ trunc 2 "abc" }}{{ trunc -2 "abc" }}{{ trunc 9 "é" }}"#, "abbcé"),
        (
            r#"{{ substr 1 3 "abcd" }}{{ substr -1 1 "abcd" }}{{ substr 2 -1 "abcd" }}"#,
            "bcacd",
        ),
        (r#"{{ indent 2 "a\nb" }}"#, "  a\n  b"),
        (r#"x:{{ nindent 2 "a" }}"#, "x:\n  a"),
        (r#"{{ splitList "," "a,b" | join ";" }}"#, "a;b"),
        (
            r#"{{ list 1 "a" | join "-" }}{{ list 1 2 | first }}{{ list 1 2 | last }}"#,
            "1-a12",
        ),
        (r#"{{ has "a" (list "a" "b") }}{{ has "c" (list "a") }}"#, "truefalse"),
        (r#"{{ b64enc "hello" }} {{ b64dec "aGVsbG8=" }}"#, "aGVsbG8= hello"),
        (r#"{{ sha256sum "abc" | trunc 8 }}"#, "ba7816bf"),
        (
            r#"{{ int "12" }} {{ atoi "x" }} {{ int64 3.9 }} {{ add 1 2 3 }} {{ sub 5 2 }} {{ mul 2 3 }}"#,
            "12 0 3 6 3 6",
        ),
        (
            r"{{ div 7 2 }} {{ mod 7 2 }} {{ max 1 3 2 }} {{ min 3 1 2 }}",
            "3 1 3 1",
        ),
        (
            r#"{{ hasKey .Parameters "bucket" }} {{ hasKey .Parameters "x" }} {{ get .Parameters "x" }}"#,
            "true false ",
        ),
        (r#"{{ keys .Parameters | join "," }}"#, "bucket,region,secret,zero"),
        (
            r#"{{ toJson (dict "b" 1 "a" (list true "x")) }}"#,
            r#"{"a":[true,"x"],"b":1}"#,
        ),
        (r#"{{ required "bucket is needed" .Parameters.bucket }}"#, "b1"),
        (r#"{{ len .Parameters.nothing }}{{ len "abc" }}"#, "03"),
    ];
    for (template, expected) in table {
        assert_eq!(shown(template), expected, "{template}");
    }
}

#[test]
fn errors_say_what_and_where() {
    assert!(
        shown("{{ bad template }").contains("function \"bad\" not defined"),
        "{}",
        shown("{{ bad template }")
    );
    assert!(shown("a\n{{ .Nope }}").contains("t:2:"), "{}", shown("a\n{{ .Nope }}"));
    assert!(
        shown("{{ .Nope }}").contains("can't evaluate field Nope"),
        "{}",
        shown("{{ .Nope }}")
    );
    assert!(shown("{{ if }}x{{ end }}").starts_with("error: "));
    assert!(shown("{{ .Parameters.bucket").starts_with("error: "));
    let needed = shown(r#"{{ required "bucket is needed" .Parameters.nothing }}"#);
    assert!(needed.contains("bucket is needed"), "{needed}");
    assert!(shown(r#"{{ fail "not here" }}"#).contains("not here"));
    assert!(
        shown("{{ replace }}").contains("replace requires at least 1"),
        "{}",
        shown("{{ replace }}")
    );
}

#[test]
fn no_error_shows_a_parameter() {
    let templates = [
        "{{ .Nope }}",
        "{{ .Parameters.secret.deeper }}",
        "{{ index .Parameters.secret \"a\" }}",
        "{{ index (list .Parameters.secret) 7 }}",
        "{{ slice .Parameters.secret 100 }}",
        "{{ slice .Parameters 1 }}",
        "{{ fail .Parameters.secret }}",
        "{{ fail (printf \"with %s\" .Parameters.secret) }}",
        "{{ required .Parameters.secret .Parameters.nothing }}",
        "{{ range .Parameters.secret }}x{{ end }}",
        "{{ range (b64enc .Parameters.secret) }}x{{ end }}",
        "{{ lt .Parameters .Parameters.secret }}",
        "{{ len (index .Parameters \"secret\" 0) }}",
        "{{ .Parameters.secret \"x\" }}",
        "{{ call .Parameters.secret }}",
        "{{ b64dec .Parameters.secret }}",
        "{{ template .Parameters.secret }}",
        "{{ get .Parameters.secret \"a\" }}",
        "{{ div 1 .Parameters.secret }}",
    ];
    let encoded = shown("{{ b64enc .Parameters.secret }}");
    for template in templates {
        let message = shown(template);
        assert!(message.starts_with("error: "), "{template}: {message}");
        assert!(
            !message.contains("s3cr3t") && !message.contains(&encoded),
            "{template}: {message}"
        );
    }
    for text in [
        "- {{ .Parameters.secret }}",
        "{{ .Parameters.secret }}",
        "a: [{{ .Parameters.secret }}",
    ] {
        let error = render_strings("t", text, &values()).unwrap_err().to_string();
        assert!(
            error.contains("cannot unmarshal") && !error.contains("s3cr3t"),
            "{text}: {error}"
        );
    }
}

#[test]
fn rendering_is_bounded() {
    let table = [
        "{{ range 1000000000 }}x{{ end }}",
        "{{ range 5000 }}{{ range 5000 }}x{{ end }}{{ end }}",
        "{{ repeat 1000000000 \"x\" }}",
        "{{ repeat 9223372036854775807 \"xxxx\" }}",
        "{{ indent 100000000 \"x\" }}",
        "{{ range 9000 }}{{ repeat 200000 \"x\" }}{{ end }}",
        "{{ $s := \"xx\" }}{{ range 100 }}{{ $s = print $s $s }}{{ end }}",
        "{{ $s := \"xx\" }}{{ range 100 }}{{ $s = replace \"x\" \"xx\" $s }}{{ end }}",
        "{{ define \"r\" }}{{ template \"r\" . }}{{ end }}{{ template \"r\" . }}",
    ];
    for template in table {
        assert!(shown(template).starts_with("error: "), "{template}");
    }
    assert_eq!(
        render("t", &"x".repeat(MAX_TEMPLATE + 1), &values()),
        Err(TemplateError::TooLarge)
    );
    let nested = "{{ if true }}".repeat(10_000);
    assert!(shown(&nested).starts_with("error: "));
}

#[test]
fn strings_keep_their_spelling() {
    let text = "accessKeyID: 0123\nnumber: 1e3\nyes: yes\nfloat: 1.50\nbool: true\nquoted: \"{{ .Parameters.bucket }}\"\nempty:\n";
    let read = render_strings("t", text, &values()).unwrap();
    let expected = [
        ("accessKeyID", "0123"),
        ("number", "1e3"),
        ("yes", "yes"),
        ("float", "1.50"),
        ("bool", "true"),
        ("quoted", "b1"),
        ("empty", ""),
    ];
    assert_eq!(
        read,
        expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
    );
    assert_eq!(render_strings("t", "{{/* nothing */}}", &values()), Ok(BTreeMap::new()));
    for text in [
        "scalar",
        "- list",
        "a: {b: c}",
        "a: [1]",
        "a: 1\na: 2",
        "a: 1\n---\nb: 2",
    ] {
        assert!(
            matches!(
                render_strings("t", text, &values()),
                Err(TemplateError::Unmarshal { .. })
            ),
            "{text}"
        );
    }
}

#[test]
fn objects_are_read_as_kubernetes_reads_them() {
    use k8s_openapi::api::{core::v1::PersistentVolumeClaim, storage::v1::StorageClass};

    let text = "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nprovisioner: p\nparameters:\n  a: 1\n  b: {{ .Parameters.bucket }}\n";
    let class: StorageClass = render_object("t", text, &values(), "a StorageClass").unwrap();
    assert_eq!(class.provisioner, "p");
    assert_eq!(class.parameters.unwrap()["a"], "1");
    let text = "spec:\n  accessModes:\n    - ReadWriteOnce\n  resources: {requests: {storage: 10}}\n";
    let claim: PersistentVolumeClaim = render_object("t", text, &values(), "a PersistentVolumeClaim").unwrap();
    let requests = claim.spec.unwrap().resources.unwrap().requests.unwrap();
    assert_eq!(requests["storage"].0, "10");
    for text in ["bad spec", "kind: Secret\nprovisioner: p", "provisioner: [p]"] {
        let read: Result<StorageClass, _> = render_object("t", text, &values(), "a StorageClass");
        assert!(
            read.unwrap_err()
                .to_string()
                .contains("cannot unmarshal the rendered text into a StorageClass"),
            "{text}"
        );
    }
}
