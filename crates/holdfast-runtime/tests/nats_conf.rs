//! The chart's NATS configuration is rendered from the table of permissions.

use holdfast_runtime::bus::permissions;

/// `HOLDFAST_WRITE=1 cargo test -p holdfast-runtime --test nats_conf` writes it anew.
#[test]
fn the_charts_configuration_is_that_of_the_table() {
    // Tests run in the folder of their package.
    let path = "../../charts/holdfast/files/nats.conf";
    let wanted = permissions::render();
    if std::env::var_os("HOLDFAST_WRITE").is_some() {
        std::fs::write(path, &wanted).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(path).unwrap(),
        wanted,
        "charts/holdfast/files/nats.conf is out of date"
    );
}
