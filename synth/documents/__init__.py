"""Documents: PDF, DOCX, HTML, Markdown, text and images as page images and text with its layout. `load.load` is the way in."""
