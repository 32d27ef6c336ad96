//! The scenarios that come with Stickler: the files of `config/scenarios/`.

/// A scenario by its name.
#[derive(Clone, Copy, Debug)]
pub struct Shipped {
    /// Its name.
    pub name: &'static str,
    /// Its file.
    pub text: &'static str,
}

macro_rules! shipped {
    ($($name:literal),* $(,)?) => {
        /// All of them.
        pub const SHIPPED: &[Shipped] = &[$(Shipped {
            name: $name,
            text: include_str!(concat!("../../../../config/scenarios/", $name, ".toml")),
        }),*];
    };
}

shipped![
    "steady",
    "skewed",
    "hot-session",
    "crash",
    "rolling-deploy",
    "rolling-deploy-drain",
    "scale-out",
    "scale-in",
    "autoscale",
];
