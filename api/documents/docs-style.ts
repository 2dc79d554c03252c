// The style sheet of the API reference page, for light and dark screens. Nothing in it is fetched from elsewhere.
export const docsStyle = `
:root{color-scheme:light dark;--text:#1c2733;--soft:#5a6b7b;--line:#dbe2e8;--back:#fff;--panel:#f5f8fa;--link:#0b62a8;--get:#1a7f4b;--post:#0b62a8;--patch:#9a6200;--delete:#b3261e}
@media (prefers-color-scheme:dark){:root{--text:#e3e9ef;--soft:#9fb0c0;--line:#2c3844;--back:#12181f;--panel:#1a222b;--link:#79b8f3;--get:#63cf97;--post:#79b8f3;--patch:#e6b450;--delete:#f28b82}}
*{box-sizing:border-box}
body{margin:0;font:16px/1.55 system-ui,sans-serif;color:var(--text);background:var(--back);display:grid;grid-template-columns:17rem minmax(0,1fr)}
nav{position:sticky;top:0;height:100vh;overflow:auto;padding:1.2rem;background:var(--panel);border-right:1px solid var(--line);font-size:.9rem}
nav p{margin:.8rem 0 .2rem;font-weight:600}nav ul{list-style:none;margin:0;padding:0}nav li{margin:.15rem 0}
.brand{font-size:1.1rem}
main{padding:1.5rem 2.5rem 6rem;max-width:64rem}
a{color:var(--link);text-decoration:none}a:hover,a:focus{text-decoration:underline}
h4 small{color:var(--soft);font-weight:400;margin-left:.5rem}
h1 small{color:var(--soft);font-weight:400;font-size:1rem}
h2{margin-top:3rem;border-bottom:1px solid var(--line);padding-bottom:.3rem}
h3{margin:2.2rem 0 .3rem}h4{margin:1rem 0 .3rem;font-size:.95rem}
code,pre{font-family:ui-monospace,monospace;font-size:.88em}
pre{background:var(--panel);border:1px solid var(--line);border-radius:6px;padding:.8rem;overflow:auto}
summary{cursor:pointer;color:var(--link)}
.method{font:600 .8rem ui-monospace,monospace;padding:.15rem .45rem;border-radius:4px;border:1px solid currentColor}
.get{color:var(--get)}.post{color:var(--post)}.patch{color:var(--patch)}.delete{color:var(--delete)}
.scope{margin-left:.6rem;color:var(--soft);font-size:.85rem}
.codes{color:var(--soft);font-size:.85rem}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.92rem;margin:.6rem 0}
th,td{text-align:left;vertical-align:top;padding:.35rem .7rem .35rem 0;border-bottom:1px solid var(--line)}
td b{color:var(--delete)}tr:target,article:target{background:var(--panel)}
@media (max-width:50rem){body{display:block}nav{position:static;height:auto;border-right:0}main{padding:1rem}}
`;
