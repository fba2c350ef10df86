<!DOCTYPE html>
<html lang="en">
  <head><title>Notes</title></head>
  <body>
    <h1>Notes</h1>
    ${next.body()}
  </body>
</html>
