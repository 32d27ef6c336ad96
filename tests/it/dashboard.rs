//! The dashboard in a real browser: headless Chromium, by way of chromedriver.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::canary;
use crate::support::browser::Browser;
use crate::support::{Admin, Files, ON, Proxy, Visitor, apps, wait_until};

const STICKY: &str = "[pools.pool.affinity]\nmode = \"cookie\"\n";

fn proxy(tables: &str) -> (Proxy, Admin, [crate::support::Backend; 2]) {
    let apps = apps::<2>();
    let proxy = Proxy::configured(&format!("{ON}{tables}"), &[&apps[0], &apps[1]], STICKY);
    let admin = proxy.admin();
    (proxy, admin, apps)
}

#[test]
fn it_shows_what_there_is_and_what_happens() {
    let (proxy, admin, _apps) = proxy("");
    let browser = Browser::open(&admin.url(), 1280, 900);
    browser.wait_for("[data-backend='pool/b0'][data-state=ready]");
    browser.wait_for_text("#link", "live");
    assert_eq!(browser.text("[data-pool=pool] .facts div:first-child"), "sessions\n0");
    assert_eq!(browser.text("#routes"), "", "no route has several pools");
    let mut visitors: Vec<_> = (0..5).map(|_| Visitor::new(proxy.address())).collect();
    visitors.iter_mut().for_each(|visitor| drop(visitor.visit()));
    browser.wait_for_text("[data-pool=pool] .facts div:first-child", "5");
    admin.post("/v1/pools/pool/backends/b1/maintenance", "");
    browser.wait_for("[data-backend='pool/b1'][data-state=maintenance]");
    browser.wait_for_text("#lately", "pool/b1 is maintenance");
    // Nothing is asked of anybody else, and nothing was blocked.
    let loaded =
        browser.evaluate("return performance.getEntriesByType('resource').map(e => e.name)");
    for name in loaded.as_array().unwrap() {
        let name = name.as_str().unwrap();
        assert!(name.starts_with(&admin.url()) || name.starts_with("data:"), "{name}");
    }
    // Bars are drawn, so the styles came through the policy.
    let width =
        browser.evaluate("return document.querySelector('.bar u').getBoundingClientRect().height");
    assert!(width.as_f64().unwrap() > 5.0, "{width}");
}

#[test]
fn it_says_what_stickiness_costs() {
    let apps = [(); 2].map(|()| {
        crate::support::Backend::answering(|_| {
            std::thread::sleep(Duration::from_millis(5)); // real time: it is what is measured
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".into()
        })
    });
    let settings = format!("balance = \"round_robin\"\n{STICKY}");
    let proxy = Proxy::configured(ON, &[&apps[0], &apps[1]], &settings);
    let browser = Browser::open(&proxy.admin().url(), 1280, 900);
    browser.wait_for_text("[data-pool=pool] .meaning", "No request has ended");
    assert!(browser.text("[data-pool=pool] .price b").starts_with('–'), "nothing is known");
    let mut visitor = crate::support::Client::connect(proxy.address());
    let cookie = format!("Cookie: {}\r\n", visitor.get("/", "").cookie().unwrap());
    (0..99).for_each(|_| drop(visitor.get("/", &cookie)));
    // One session does it all: its home has 2.00 times its share, the even world 1.00 or so.
    browser.wait_for_text("[data-pool=pool] .meaning", "more capacity");
    browser.wait_for_text("[data-pool=pool] .cost .facts", "2.00 × fair, even 1.");
    let price = browser.text("[data-pool=pool] .price b");
    let percent: f64 = price.trim_end_matches(" %").parse().unwrap();
    assert!((75.0..=115.0).contains(&percent), "{price}");
    browser.click("[data-pool=pool] [data-window='10s']");
    browser.wait_for_text("[data-pool=pool] .price span", "10 s");
    // The home's bar is twice as high as its outline, and the other has an outline only.
    let heights = "return [...document.querySelectorAll('.well')].map(w => \
                   [...w.children].map(c => Number(c.style.getPropertyValue('--at'))))";
    let heights: Vec<[f64; 2]> = serde_json::from_value(browser.evaluate(heights)).unwrap();
    let (home, other) = if heights[0][0] > 0.5 { (0, 1) } else { (1, 0) };
    assert_eq!((heights[home][0], heights[other][0]), (1.0, 0.0), "{heights:?}");
    assert!((heights[home][1] + heights[other][1] - 1.0).abs() < 0.01, "{heights:?}");
    assert!(heights.iter().all(|[_, even]| (0.4..0.6).contains(even)), "{heights:?}");
}

#[test]
fn it_shows_the_pools_of_a_route_and_ends_a_canary() {
    let apps = apps::<2>();
    let text = canary::config([75, 25], [&apps[0], &apps[1]], canary::COOKIE);
    let proxy = Proxy::with(&format!("{ON}{text}"));
    let mut visitors: Vec<_> = (0..4).map(|_| Visitor::new(proxy.address())).collect();
    visitors.iter_mut().for_each(|visitor| drop(visitor.visit()));
    let browser = Browser::open(&proxy.admin().url(), 1280, 900);
    let arm = "[data-arm='shop/green']";
    browser.wait_for_text(arm, "weight 25");
    browser.wait_for_text(arm, "of 25.0 %");
    browser.wait_for_text(arm, "1 session");
    assert!(!browser.text(arm).contains("takes no new sessions"));
    (0..30).for_each(|_| visitors.iter_mut().for_each(|visitor| drop(visitor.visit())));
    browser.wait_for_text(arm, "25.0 %\nof"); // of 124 requests
    browser.click(&format!("{arm} [data-do=abort]"));
    browser.type_in("#act-idle", "1ms");
    browser.click("#act-confirm");
    browser.wait_for_text(arm, "takes no new sessions");
    wait_until("nobody is there", || {
        visitors.iter_mut().for_each(|visitor| drop(visitor.visit()));
        browser.text(arm).contains("0 sessions")
    });
    browser.click(&format!("{arm} [data-do=promote]"));
    browser.click("#act-confirm");
    browser.wait_for_text("[data-arm='shop/blue']", "takes no new sessions");
}

#[test]
fn a_click_drains_a_backend_and_the_end_is_shown() {
    let (proxy, admin, _apps) = proxy("");
    let mut visitor = Visitor::new(proxy.address());
    let home = visitor.visit()[..2].to_owned();
    let browser = Browser::open(&admin.url(), 1280, 900);
    let row = format!("[data-backend='pool/{home}']");
    browser.wait_for(&format!("{row}[data-state=ready]"));
    browser.click(&format!("{row} button"));
    browser.wait_for("#act[open]");
    assert!(browser.text("#act-title").contains(&format!("pool/{home}")));
    browser.click("#act-cancel");
    assert_eq!(admin.backend(&home)["state"], "ready", "to look is not to act");
    browser.click(&format!("{row} button"));
    browser.type_in("#act-deadline", "nonsense");
    browser.click("#act-confirm");
    browser.wait_for_text("#act-problem", "expected");
    browser.evaluate("document.getElementById('act-deadline').value = ''");
    browser.type_in("#act-idle", "1ms");
    browser.click("#act-confirm");
    browser.wait_for(&format!("{row}[data-state=draining]"));
    browser.wait_for_text(&format!("{row} .drain"), "1 of 1 session still here");
    wait_until("the visitor has moved", || visitor.visit().contains("moved"));
    browser.wait_for(&format!("{row}[data-state=drained]"));
    browser.wait_for_text(&format!("{row} .drain"), "Drained in");
    browser.wait_for_text(&format!("{row} .drain"), "1 moved");
    browser.click(&format!("{row} button"));
    browser.click("#act-confirm");
    browser.wait_for(&format!("{row}[data-state=ready]"));
}

#[test]
fn the_last_ready_backend_is_drained_only_by_who_insists() {
    let (_proxy, admin, _apps) = proxy("");
    admin.post("/v1/pools/pool/backends/b1/maintenance", "");
    let browser = Browser::open(&admin.url(), 1280, 900);
    browser.wait_for("[data-backend='pool/b0'][data-state=ready]");
    browser.click("[data-backend='pool/b0'] button");
    browser.click("#act-confirm");
    browser.wait_for_text("#act-problem", "no other backend");
    browser.click("#act-force");
    browser.click("#act-confirm");
    browser.wait_for("[data-backend='pool/b0'][data-state=drained]");
}

#[test]
fn it_asks_for_the_token_once_for_each_tab() {
    let files = Files::with("");
    let token = files.write("token", "0123456789abcdef");
    let (_proxy, admin, _apps) = proxy(&format!("token_file = \"{token}\"\n"));
    let browser = Browser::open(&admin.url(), 1280, 900);
    browser.wait_for("#ask[open]");
    browser.type_in("#ask-token", "wrong\n");
    browser.wait_for_text("#ask-problem", "not the token");
    browser.type_in("#ask-token", "0123456789abcdef\n");
    browser.wait_for("[data-backend='pool/b0']");
    browser.runtime.block_on(browser.page.refresh()).unwrap();
    browser.wait_for("[data-backend='pool/b0']");
    assert_eq!(browser.evaluate("return document.getElementById('ask').open"), false);
}

/// With the keyboard alone, and on a narrow screen without scrolling sideways.
#[test]
fn it_can_be_used_with_a_keyboard_and_on_a_phone() {
    let (_proxy, admin, _apps) = proxy("");
    let browser = Browser::open(&admin.url(), 500, 900);
    browser.wait_for("[data-backend='pool/b0'][data-state=ready]");
    let tab = "\u{e004}";
    for _ in 0..10 {
        let focused = "return document.activeElement?.getAttribute('aria-label')";
        if browser.evaluate(focused) == "Drain pool/b0" {
            break;
        }
        browser.type_in("body", tab);
    }
    let focused = "return document.activeElement?.getAttribute('aria-label')";
    assert_eq!(browser.evaluate(focused), "Drain pool/b0");
    browser.type_in("[data-backend='pool/b0'] button", "\n");
    browser.wait_for("#act[open]");
    browser.type_in("#act-deadline", "\n");
    browser.wait_for("[data-backend='pool/b0'][data-state=drained]");
    // Every control has a name, and nothing sticks out.
    let unnamed = "return [...document.querySelectorAll('button, input')].filter(e => \
                   !(e.ariaLabel || e.textContent.trim() || e.labels?.length)).length";
    assert_eq!(browser.evaluate(unnamed), 0);
    let excess =
        "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
    assert_eq!(browser.evaluate(excess), 0);
}

/// Renews the README's picture: `SCREENSHOT=docs/dashboard.png cargo nextest run --run-ignored only screenshot`.
#[test]
#[ignore = "makes a picture of a demo that runs, at STICKLER_ADMIN"]
#[expect(clippy::disallowed_methods, reason = "what a person wants of this run")]
fn screenshot() {
    let url = std::env::var("STICKLER_ADMIN").unwrap_or("http://127.0.0.1:9900".into());
    let file = PathBuf::from(std::env::var("SCREENSHOT").unwrap_or("docs/dashboard.png".into()));
    let browser = Browser::open(&url, 1240, 800);
    browser.wait_for("[data-backend]");
    browser.wait_for_text("#link", "live");
    let drawn = "return document.querySelector('.bar u')?.getBoundingClientRect().height > 0";
    wait_until("the bars are drawn", || browser.evaluate(drawn) == true);
    let picture = browser.runtime.block_on(browser.page.screenshot()).unwrap();
    std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(file), picture).unwrap();
}
