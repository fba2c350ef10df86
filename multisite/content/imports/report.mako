## The report of an import as a page: `multisite.content.imports.report_page`. Every value is escaped.
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>Import into ${site}</title>
<style>
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; }
th, td { text-align: left; padding: .2rem 1.5rem .2rem 0; }
td { font-variant-numeric: tabular-nums; }
code { overflow-wrap: anywhere; }
li { margin: .3rem 0; }
summary { cursor: pointer; }
</style>
</head>
<body>
<h1>Import into ${site}</h1>
<p>${outcome} ${when}.</p>
<table>
% for name, count in counts:
<tr><th scope="row">${name}</th><td>${f"{count:,}"}</td></tr>
% endfor
</table>
% for group in groups:
<h2>${group.title}</h2>
% for kind in group.kinds:
<details${" open" if len(kind.lines) <= 20 else "" | n}>
<summary>${kind.title}: ${f"{kind.count:,}"}</summary>
<ul>
% for place, text in kind.lines:
<li><code>${place}</code> ${text}</li>
% endfor
</ul>
% if kind.count > len(kind.lines):
<p>And ${f"{kind.count - len(kind.lines):,}"} more: <code>--json</code> lists all.</p>
% endif
</details>
% endfor
% endfor
</body>
</html>
