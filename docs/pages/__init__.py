"""The site of the documents: pages generated from the code, links made to hold, built by Zensical."""
