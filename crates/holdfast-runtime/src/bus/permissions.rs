//! Who may do what on the bus: one user a service, which may publish the messages that are its own, use its own
//! consumer, and nothing else. The server's configuration is rendered from this table.

use std::fmt::Write as _;

use holdfast_api::{Service, event::BusEventKind};

use super::{STREAM, inbox};

/// What one service may do.
#[derive(Clone, Copy, Debug)]
pub struct Permission {
    /// Name of the service, of its user and of its consumer.
    pub service: &'static str,
    /// Whether it declares the stream.
    pub declares: bool,
    publisher: Service,
}

/// All services.
pub const TABLE: &[Permission] = &[
    Permission::of(Service::Scheduler),
    Permission::of(Service::Executor),
    Permission::of(Service::RepoManager),
    Permission::of(Service::Gc),
    Permission::of(Service::Restore),
];

impl Permission {
    const fn of(publisher: Service) -> Self {
        Self {
            service: publisher.as_str(),
            declares: matches!(publisher, Service::Scheduler),
            publisher,
        }
    }

    /// Subjects that the service may publish on.
    pub fn publish(&self) -> Vec<String> {
        let service = self.service;
        let own = BusEventKind::ALL
            .iter()
            .filter(|kind| kind.publishers().contains(&self.publisher));
        let mut subjects: Vec<String> = own.map(|kind| kind.filter()).collect();
        if self.declares {
            subjects.extend(["CREATE", "UPDATE", "INFO"].map(|verb| format!("$JS.API.STREAM.{verb}.{STREAM}")));
        }
        subjects.extend([
            format!("$JS.API.CONSUMER.CREATE.{STREAM}.{service}"),
            format!("$JS.API.CONSUMER.CREATE.{STREAM}.{service}.>"),
            format!("$JS.API.CONSUMER.INFO.{STREAM}.{service}"),
            format!("$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{service}"),
            // Acknowledgements have two forms: without and with the domain and the account.
            format!("$JS.ACK.{STREAM}.{service}.>"),
            format!("$JS.ACK.*.*.{STREAM}.{service}.>"),
        ]);
        subjects
    }

    /// Subjects that the service may read.
    pub fn subscribe(&self) -> Vec<String> {
        vec![format!("{}.>", inbox(self.service))]
    }

    /// Environment variable of the NATS server that holds the password of the service.
    pub fn password_variable(&self) -> String {
        format!("{}_PASSWORD", self.service.to_uppercase().replace('-', "_"))
    }
}

/// Configuration of the NATS server, with passwords taken from the environment.
pub fn render() -> String {
    let mut text = String::from(
        "# Rendered from the table of permissions in holdfast-runtime; a test compares.\n\
         server_name: holdfast-nats\n\
         port: 4222\n\
         http_port: 8222\n\
         max_payload: 128KB\n\
         max_control_line: 8KB\n\
         lame_duck_duration: 30s\n\
         lame_duck_grace_period: 2s\n\
         jetstream {\n  store_dir: /data\n  max_memory_store: 16MB\n  max_file_store: 128MB\n}\n\
         authorization {\n  timeout: 5\n  users: [\n",
    );
    for permission in TABLE {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "    {{\n      user: {}\n      password: ${}\n      permissions: {{\n        publish: {{\n          allow: [\n{}          ]\n        }}\n        subscribe: {{\n          allow: [\n{}          ]\n        }}\n      }}\n    }}\n",
            permission.service,
            permission.password_variable(),
            lines(&permission.publish()),
            lines(&permission.subscribe()),
        );
    }
    text.push_str("  ]\n}\n");
    text
}

fn lines(subjects: &[String]) -> String {
    subjects.iter().fold(String::new(), |mut text, subject| {
        let _ = writeln!(text, "            \"{subject}\"");
        text
    })
}
