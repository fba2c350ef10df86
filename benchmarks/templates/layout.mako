<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title><%block name="title">Bench</%block></title>
<link rel="stylesheet" href="/static/base.css">
</head>
<body>
<header><a href="/">Bench</a></header>
<main>
${self.body()}
</main>
<footer>Served by Pyramid</footer>
</body>
</html>
