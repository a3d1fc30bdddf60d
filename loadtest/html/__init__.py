"""Reports as pages: one self-contained file each, no network, no script, no build step.

document ──▶ run_page ──┐
two documents ──▶ comparison_page ──┼──▶ page (head, style, cards) ◀── charts (inline SVG), tables
trials of a search ──▶ front ──────┘
"""
