import re
from xml.etree import ElementTree

from planner.plot import HEIGHT, WIDTH, Mark, frontier_svg

SVG = "{http://www.w3.org/2000/svg}"


def test_marks_lie_by_time_and_cost_within_the_frame():
    frontier = [Mark(10, 5.0), Mark(20, 2.0), Mark(80, 1.0)]
    others = [Mark(15, 40.0, "a <b> & c"), Mark(200, 0.9, "other")]
    root = ElementTree.fromstring(frontier_svg("job", frontier, others))
    circles = [(float(c.get("cx")), float(c.get("cy"))) for c in root.iter(f"{SVG}circle")]
    assert len(circles) == 3
    assert circles == sorted(circles), "later is to the right, cheaper is below"
    assert all(0 < x < WIDTH and 0 < y < HEIGHT for x, y in circles)
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert {"a <b> & c", "other", "frontier", "job"} <= set(texts)
    # A factor of two is as wide everywhere: 10 to 20 s as half of 20 to 80 s.
    (x0, _), (x1, _), (x2, _) = circles
    assert abs((x2 - x1) - 2 * (x1 - x0)) < 0.5


def test_labels_of_marks_in_one_place_do_not_lie_on_one_another():
    text = frontier_svg("job", [Mark(1, 1)], [Mark(50, 0.1, name) for name in "abcd"])
    heights = [float(y) for y in re.findall(r'y="([\d.]+)">[abcd]<', text)]
    assert len(set(heights)) == 4 and max(heights) < HEIGHT


def test_a_single_point_has_a_picture():
    ElementTree.fromstring(frontier_svg("job", [Mark(3, 0.001)], []))
