use super::*;

fn canonical(text: &str) -> String {
    match text.parse::<Quantity>() {
        Ok(quantity) => quantity.to_string(),
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn quantities_are_written_back_as_kubernetes_does() {
    let table = [
        ("0", "0"),
        ("0.0", "0"),
        ("-0", "0"),
        ("0Gi", "0"),
        ("1", "1"),
        ("+1", "1"),
        ("1.", "1"),
        (".5", "500m"),
        ("1.5Gi", "1536Mi"),
        ("1024Mi", "1Gi"),
        ("1Gi", "1Gi"),
        ("12Ei", "12Ei"),
        ("1E", "1E"),
        ("1000", "1k"),
        ("1001", "1001"),
        ("1024", "1024"),
        ("1.2k", "1200"),
        ("100m", "100m"),
        ("1000m", "1"),
        ("1.5", "1500m"),
        ("1e3", "1e3"),
        ("1E3", "1e3"),
        ("12e-3", "12e-3"),
        ("5e0", "5"),
        ("1000000n", "1m"),
        ("-1Ki", "-1Ki"),
        ("0.5Ki", "512"),
        ("1.1Ki", "1126400m"),
        ("9223372036854775807", "9223372036854775807"),
        ("0000100Mi", "100Mi"),
        // Finer than a billionth: rounded up.
        ("0.1n", "1n"),
        ("1e-30", "1e-9"),
        ("1.0000000001", "1000000001n"),
    ];
    for (text, expected) in table {
        assert_eq!(canonical(text), expected, "{text}");
    }
}

#[test]
fn what_kubernetes_refuses_is_refused() {
    let table = [
        "", " ", "Gi", "1gi", "1 Gi", "1GiB", "1..0", "1.0.0", "--1", "e3", "1e", "1e+", "1e3Ki", "0x10", "1Kii", "١",
        "1K", "NaN",
    ];
    for text in table {
        assert_eq!(
            text.parse::<Quantity>(),
            Err(QuantityError::Malformed(text.to_owned())),
            "{text}"
        );
    }
    assert_eq!(
        "1e400".parse::<Quantity>(),
        Err(QuantityError::TooLarge("1e400".to_owned()))
    );
    assert!(matches!(
        "9".repeat(65).parse::<Quantity>(),
        Err(QuantityError::Malformed(_))
    ));
    assert!(matches!(
        "1e99999999999999".parse::<Quantity>(),
        Err(QuantityError::Malformed(_))
    ));
    assert!(matches!(
        "1e2147483647".parse::<Quantity>(),
        Err(QuantityError::TooLarge(_))
    ));
}

#[test]
fn quantities_compare_by_value() {
    let parse = |text: &str| text.parse::<Quantity>().unwrap();
    assert_eq!(parse("1024Mi"), parse("1Gi"));
    assert_eq!(parse("1e3"), parse("1k"));
    assert!(parse("1Gi") > parse("1G"));
    assert!(parse("-1") < parse("0"));
    assert_eq!(parse("0Gi"), Quantity::ZERO);
    assert!(!parse("0").is_positive());
    assert!(!parse("-1Gi").is_positive());
    assert!(parse("1n").is_positive());
}

#[test]
fn every_canonical_form_reads_back_as_the_same_value() {
    for suffix in [
        "n", "u", "m", "", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "e-9", "e5",
    ] {
        for number in ["1", "7", "0.25", "1023", "1024", "99999", "-3.125"] {
            let quantity: Quantity = format!("{number}{suffix}").parse().unwrap();
            assert_eq!(
                quantity.to_string().parse::<Quantity>(),
                Ok(quantity),
                "{number}{suffix} -> {quantity}"
            );
        }
    }
}
