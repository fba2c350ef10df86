<%inherit file="layout.mako"/>
<ul>
% for model in models:
  <li>${model.name}</li>
% endfor
</ul>
