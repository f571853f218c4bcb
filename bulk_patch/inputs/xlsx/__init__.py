"""Excel workbooks (.xlsx), read strictly: a cell is what the person sees, or it is marked as what Excel made of it."""
