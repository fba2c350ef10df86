"""Import of a whole blog from the export file of WordPress or Ghost."""
