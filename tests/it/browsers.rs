//! Two hundred browsers, four app servers that keep sessions in memory, and a proxy, each in a
//! process of its own, and what happens to the sessions when processes die and come back.

use serde_json::Value;
use stickler::lab::browser::Browser;
use tokio::task::JoinSet;

use crate::support::{Files, Process, app_process};

const BROWSERS: usize = 200;

/// Who lives at which address. Addresses of their own, so that nobody takes a port while its
/// owner is away.
const APPS: [(&str, &str); 4] = [
    ("app-1", "127.0.0.11:0"),
    ("app-2", "127.0.0.12:0"),
    ("app-3", "127.0.0.13:0"),
    ("app-4", "127.0.0.14:0"),
];
const PROXY: &str = "127.0.0.15:0";

/// A browser, and which app servers it has met.
struct User {
    browser: Browser,
    number: usize,
    /// In order, each as often as it changed.
    met: Vec<String>,
    /// Requests in its session of the app, as the last answer counted them; 0 when it was lost.
    requests: u64,
}

impl User {
    /// Looks where it is, so many times; logs in first if it has no session.
    async fn visit(mut self, times: usize) -> Self {
        for _ in 0..times {
            if self.requests == 0 {
                self.log_in().await;
                continue;
            }
            let response = self.browser.get("/whoami").await.unwrap();
            assert_eq!(response.status, 200, "{response:?}");
            let whoami: Value = serde_json::from_slice(&response.body).unwrap();
            self.meet(whoami["server"].as_str().unwrap());
            self.requests = whoami["requests"].as_u64().unwrap();
        }
        self
    }

    async fn log_in(&mut self) {
        let form = format!("user=user-{}", self.number);
        let response = self.browser.post("/login", &form).await.unwrap();
        assert_eq!(response.status, 200, "{response:?}");
        let answer: Value = serde_json::from_slice(&response.body).unwrap();
        self.meet(answer["server"].as_str().unwrap());
        self.requests = 1;
    }

    fn meet(&mut self, server: &str) {
        if self.met.last().is_none_or(|last| last != server) {
            self.met.push(server.to_owned());
        }
    }
}

/// Lets all of them make so many requests, at the same time.
async fn visit(users: Vec<User>, times: usize) -> Vec<User> {
    let mut visits: JoinSet<User> = users.into_iter().map(|user| user.visit(times)).collect();
    let mut users = Vec::new();
    while let Some(user) = visits.join_next().await {
        users.push(user.unwrap());
    }
    users
}

/// The reasons of the moves in a log.
fn moves(log: &str) -> Vec<String> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let moves = lines.filter(|line| line["cause"] == "moved");
    moves.map(|line| line["reason"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn two_hundred_browsers_stay_where_they_are() {
    let mut apps: Vec<(Process, _)> =
        APPS.iter().map(|(name, listen)| app_process(name, listen)).collect();
    let config = |listen: &str| {
        let mut config = format!(
            "[server]\nworkers = 2\nstate_dir = \"state\"\n\
             log = {{ filter = \"info,stickler::proxy=debug\", format = \"json\" }}\n\
             [[listeners]]\naddress = \"{listen}\"\n[pools.shop.affinity]\nmode = \"cookie\"\n"
        );
        for ((name, _), (_, address)) in APPS.iter().zip(&apps) {
            config +=
                &format!("[[pools.shop.backends]]\nname = \"{name}\"\naddress = \"{address}\"\n");
        }
        config
    };
    let files = Files::with(&config(PROXY));
    files.configure(&config(PROXY));
    let (proxy, address) = files.run();
    files.configure(&config(&address.to_string()));
    let browser = Browser::new(address, "shop.test").unwrap();
    let user = |number| User { browser: browser.another(), number, met: Vec::new(), requests: 0 };
    let users: Vec<_> = (0..BROWSERS).map(user).collect();

    // Everybody stays, and every app server has its share.
    let users = visit(users, 8).await;
    assert!(users.iter().all(|user| user.met.len() == 1 && user.requests == 8));
    let lost = users.iter().filter(|user| user.met == ["app-2"]).count();
    for (name, _) in APPS {
        let at_home = users.iter().filter(|user| user.met == [name]).count();
        assert!(at_home > BROWSERS / 8, "{at_home} of {BROWSERS} are at {name}");
    }

    // kill -9: whoever lived there moves once, and nobody else does.
    let gone = apps[1].1;
    apps[1].0.kill();
    let users = visit(users, 4).await;
    for user in &users {
        let moves = usize::from(user.met[0] == "app-2");
        assert_eq!(user.met.len(), 1 + moves, "{:?}", user.met);
        assert!(moves == 1 || user.requests == 12, "a session was lost");
    }
    assert_eq!(moves(&proxy.stderr()), vec!["ejected"; lost]);

    // It is back: nobody moves again.
    apps[1] = app_process("app-2", &gone.to_string());
    let homes = |users: &[User]| -> Vec<_> {
        let mut homes: Vec<_> = users.iter().map(|user| (user.number, user.met.clone())).collect();
        homes.sort();
        homes
    };
    let before = homes(&users);
    let users = visit(users, 4).await;
    assert_eq!(homes(&users), before);

    // The proxy is restarted: everybody is still where they were.
    proxy.signal("TERM");
    let ended = proxy.end();
    assert_eq!((ended.code, moves(&ended.stderr).len()), (Some(0), lost), "{ended:?}");
    let (proxy, again) = files.run();
    assert_eq!(again, address);
    let mut users = users;
    users.iter_mut().for_each(|user| user.browser.hang_up());
    let users = visit(users, 4).await;
    assert_eq!(homes(&users), before);
    assert!(users.iter().all(|user| user.met[0] == "app-2" || user.requests == 20));
    assert_eq!(moves(&proxy.stderr()), Vec::<String>::new());
}
