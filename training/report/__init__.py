"""The measured taxonomy: what each model of a folder can do, in numbers, on one page.

`finding` sorts the bundles, `measuring` makes a `Record` of each, `records` keeps them in
results.json, and `page` shows them. The page has no number that is not in results.json.
"""
