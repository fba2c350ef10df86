<%inherit file="layout.mako"/>
<p>There is no such page.</p>
