use super::*;
use proptest::prelude::*;

fn mask(values: &[&str]) -> Mask {
    Mask::new(values.iter().map(|value| value.as_bytes().to_vec()))
}

#[test]
fn what_overlaps_is_hidden_whole_and_once() {
    let mask = mask(&["abcdefgh", "efghijkl", "long-value", "long-value-too"]);
    assert_eq!(mask.hide("xabcdefghijkly"), "x******y");
    assert_eq!(mask.hide("long-value-too long-value-two"), "****** ******-two");
    assert!(mask.finds("x=abcdefgh") && !mask.finds("abcdefg"));
}

#[test]
fn signs_that_only_escapes_share_are_told_apart() {
    let mask = mask(&[r"50%25\\off", "with space"]);
    for text in [
        r"50%25\\off",
        r"50%2525%5C%5coff",
        r"50%25\\\\off",
        "with+space",
        "with%20space",
    ] {
        assert_eq!(mask.hide(text), "******", "{text}");
    }
    assert_eq!(super::tests::mask(&["<a>&b>"]).hide(r"\u003ca\u003E\u0026b>"), "******");
}

#[test]
fn nothing_is_held_back_for_long() {
    let mask = mask(&["secret"]);
    let mut stream = Stream::new(&mask);
    assert_eq!(stream.pass(b"a plain line\n", false), b"a plain line\n");
    assert_eq!(stream.pass(b"a sec", false), b"a ");
    assert_eq!(stream.pass(b"ond line\n", false), b"second line\n");
    assert_eq!(stream.pass(b"sec", true), b"sec");
}

#[test]
fn base64_is_as_everybody_writes_it() {
    assert_eq!(base64(b"any carnal pleas", 0, true), b"YW55IGNhcm5hbCBwbGVhcw==");
    // In "x:hunter22!" and "xy:hunter22!": "eDpodW50ZXIyMiE=" and "eHk6aHVudGVyMjIh".
    assert_eq!(base64(b"hunter22", 2, false), b"odW50ZXIyM");
    assert_eq!(base64(b"hunter22", 0, false), b"aHVudGVyMj");
}

fn pieces(text: &[u8], at: &[prop::sample::Index], mask: &Mask) -> Vec<u8> {
    let mut stream = Stream::new(mask);
    let mut cuts: Vec<usize> = at.iter().map(|index| index.index(text.len() + 1)).collect();
    cuts.sort_unstable();
    let mut out = Vec::new();
    let mut from = 0;
    for cut in cuts {
        out.extend(stream.pass(&text[from..cut], false));
        from = cut;
    }
    out.extend(stream.pass(&text[from..], true));
    out
}

proptest! {
    #[test]
    fn pieces_hide_as_the_whole_does(
        values in prop::collection::vec("[ab%\\\\\n \"=]{1,9}", 1..4),
        text in "[abYS%25\\\\\n \"=]{0,60}",
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mask = Mask::new(values.into_iter().map(String::into_bytes));
        let whole = Stream::new(&mask).pass(text.as_bytes(), true);
        prop_assert_eq!(pieces(text.as_bytes(), &cuts, &mask), whole);
    }

    #[test]
    fn a_secret_is_never_left(
        value in "[a-z\"\\\\$%+/ (]{6,20}",
        around in ("[A-Z .:]{0,9}", "[A-Z .:]{0,9}"),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let value = value.trim();
        prop_assume!(value.len() >= SHORTEST);
        let mask = mask(&[value]);
        let text = format!("{}{value}{}", around.0, around.1);
        let out = String::from_utf8_lossy(&pieces(text.as_bytes(), &cuts, &mask)).into_owned();
        prop_assert!(!out.contains(value), "{}", out);
        let encoded = base64(text.as_bytes(), 0, true);
        let out = String::from_utf8_lossy(&pieces(&encoded, &cuts, &mask)).into_owned();
        prop_assert!(out.contains("******"), "{}", out);
    }
}
