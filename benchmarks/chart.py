def draw(f): return ""
