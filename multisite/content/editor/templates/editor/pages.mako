<%inherit file="multisite.content.editor:templates/editor/frame.mako"/>
<%block name="title">${t("Pages")}</%block>
<p class="actions"><a class="button" href="${path('editor_new_entry', _query={'parent': '/'})}">${t("New page")}</a>
<a href="${path('editor_deleted')}">${t("Deleted entries")}</a></p>
<%include file="multisite.content.editor:templates/editor/undo.mako"/>
% if pages:
<ul class="rows">
% for page in pages:
  <li>
    <span><a href="${path('editor_entry', id=page.id)}">${page.title}</a><br>
    <small>${page.slug}/ · ${t("Changed {when}", when=when(page.updated))}</small></span>
    <span class="badge">${t(parent.attr.STATES["draft" if page.draft else "published"])}</span>
  </li>
% endfor
</ul>
% else:
<p>${t("There are no pages here. A page has no date and is in no list: an imprint, for example.")}</p>
% endif
% if more:
<p><a href="${path('editor_pages', _query={'after': more})}">${t("More pages")}</a></p>
% endif
