<!DOCTYPE html>
<html lang="en">
  <head><title>My application</title></head>
  <body>
    <h1>My application</h1>
    ${next.body()}
  </body>
</html>
