<!DOCTYPE html>
<html lang="en">
  <head><title>${request.site.name}</title></head>
  <body class="second">
    ${next.body()}
  </body>
</html>
