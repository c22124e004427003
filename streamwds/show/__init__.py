"""Samples for people to look at: a page of HTML, and a contact sheet.

What shards hold is a stranger's: it is decoded by the rules of `decode` (nothing runs, sizes are bounded), pictures are
drawn anew, and text is escaped. Neither streams nor shards may enter here, only samples.
"""

from streamwds.show.fields import View, viewed
from streamwds.show.page import html_page
from streamwds.show.sheet import contact_sheet

__all__ = ["View", "contact_sheet", "html_page", "viewed"]
