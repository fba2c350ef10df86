## What was deleted, with a button that brings it back. Variable: deleted, the id of the revision, or None.
% if deleted:
<form method="post" action="${path('editor_deleted')}" class="message done actions">
  <input type="hidden" name="csrf_token" value="${csrf_token}">
  <input type="hidden" name="revision" value="${deleted}">
  <span role="status">${t("It is deleted.")}</span>
  <button type="submit" class="quiet">${t("Undo")}</button>
</form>
% endif
