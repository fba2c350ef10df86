"""Import the files of Jekyll, Hugo, Zola and Pelican as entries and pages."""
