<%inherit file="layout.mako"/>
<ul>
% for note in notes:
  <li>${note.name}</li>
% endfor
</ul>
