"""Where two tiles share ground, as polygons and lines in the world."""

from __future__ import annotations

import cv2
import numpy as np

from demis_ij.records import Points, Tile


def overlap_polygon(fixed: Tile, moving: Tile) -> Points:
    """Return the (N, 2) world corners of what two tiles share, (0, 2) when they do not touch."""
    a, b = fixed.world_corners, moving.world_corners
    centre = (a.mean(0) + b.mean(0)) / 2  # OpenCV works in float32: keep the numbers small
    area, polygon = cv2.intersectConvexConvex((a - centre).astype(np.float32), (b - centre).astype(np.float32))
    if area <= 0 or polygon is None:
        return np.empty((0, 2))
    return np.asarray(np.asarray(polygon, np.float64).reshape(-1, 2) + centre)


def is_wide(fixed: Tile, moving: Tile) -> bool:
    """Return whether the overlap is wider than high (tiles above each other); False when there is none."""
    polygon = overlap_polygon(fixed, moving)
    return len(polygon) > 2 and bool(np.greater(*np.ptp(polygon, axis=0)))


def seam_line(fixed: Tile, moving: Tile) -> Points:
    """Return the (2, 2) ends of the middle line of the overlap, or of the centres' line when there is none, world px.

    The line is a little shorter than the overlap, so that the seams of a grid stay apart where four tiles meet.
    """
    polygon = overlap_polygon(fixed, moving)
    if len(polygon) < 3:
        return np.stack([fixed.world_corners.mean(0), moving.world_corners.mean(0)])
    centre = polygon.mean(0)
    box = cv2.boxPoints(cv2.minAreaRect((polygon - centre).astype(np.float32))).astype(np.float64) + centre
    ends = np.stack([box[0] + box[1], box[2] + box[3]]) / 2
    other = np.stack([box[1] + box[2], box[3] + box[0]]) / 2
    if np.linalg.norm(np.subtract(*other)) > np.linalg.norm(np.subtract(*ends)):
        ends = other
    middle = ends.mean(0)
    return np.asarray(middle + 0.72 * (ends - middle))
