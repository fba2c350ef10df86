<%inherit file="layout.mako"/>
<div class="lost">
  <img src="${static_url("img/okular.svg")}" alt="" width="320" height="320">
  <div>
    <h1>${title}</h1>
    <p>Im Okular ist an dieser Stelle nur Nacht. Entweder stimmt die Koordinate nicht, oder das Objekt ist untergegangen.</p>
    <p><a href="${home_url}">${text("back_home")}</a></p>
  </div>
</div>
