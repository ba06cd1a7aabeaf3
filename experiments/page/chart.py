"""The chart of the page: a Vega-Lite specification in Altair, and Vega-Embed, which draws it.

The specification has no data. The page's script gives each chart its data sets (named below) and
its signals (domains, ticks, titles), so that one specification serves every task, metric and axis.
"""

from __future__ import annotations

import base64
import gzip
import json
from typing import TYPE_CHECKING, Any

from backbone.common.errors import InputError
from experiments.pictures.style import GRID, INK, TICKS

if TYPE_CHECKING:
    import altair as alt

MISSING = (
    "the page needs Altair and vl-convert-python, which are an extra: "
    "pip install 'genomic-icl[page]'"
)
SIGNALS = {"xdomain": [0, 1], "ydomain": [0, 1], "xticks": [], "smallest": 1}
"""Signals set by the script: positions 0 to 1 are linear, from 1 on each unit is a doubling."""

_TICK = "format(round(smallest * (datum.value <= 1 ? datum.value : pow(2, datum.value - 1))), ',')"


def vega() -> tuple[str, str]:
    """Return the chart's specification as JSON, and the library that draws it.

    Returns:
        The specification, compiled to Vega; and the script that sets `window.vegaEmbed`, gzip'd (a
        third of its size) in base64.

    Raises:
        InputError: If the extra `page` is not installed.
    """
    try:
        import vl_convert

        specification = vl_convert.vegalite_to_vega(chart().to_dict(validate=True))
    except ImportError as error:
        raise InputError(MISSING) from error
    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    packed = base64.b64encode(gzip.compress(script.encode(), mtime=0)).decode()
    return json.dumps(_finished(specification)), packed


def chart() -> alt.LayerChart:
    """Return a chart of means with bands, single runs, baselines, reference lines and labels.

    Data sets: `band` and `mean` (x, mean, low, high, line, color, dash, shape, about), `single`
    (x, value, color, about), `flat` (mean, low, high, color, dash, about, beside) and `label`
    (y, text, color). Colours, dashes and shapes are taken from the data as they are.
    """
    import altair as alt

    x = alt.X(
        "x:Q",
        scale=alt.Scale(domain=alt.ExprRef("xdomain"), nice=False, zero=False),
        axis=alt.Axis(values=alt.ExprRef("xticks"), labelExpr=_TICK, title="xtitle", grid=False),
    )
    y_scale = alt.Scale(domain=alt.ExprRef("ydomain"), nice=False, zero=False)

    def y(name: str) -> alt.Y:
        return alt.Y(f"{name}:Q", scale=y_scale, axis=alt.Axis(title="ytitle", tickCount=6))

    color = alt.Color("color:N", scale=None)
    dash = alt.StrokeDash("dash:N", scale=None)
    about = alt.Tooltip("about:N")
    band, mean, single, flat, label = (
        alt.Chart(alt.NamedData(name=name)) for name in ("band", "mean", "single", "flat", "label")
    )
    layers = [
        flat.mark_rule(strokeWidth=1.4).encode(y=y("mean"), color=color, strokeDash=dash),
        flat.mark_rule(strokeWidth=2, clip=False).encode(
            x=alt.XValue(alt.ExprRef("width + 2 + 3 * datum.beside")),
            y=y("low"),
            y2="high",
            color=color,
        ),
        flat.mark_rule(strokeWidth=10, opacity=0).encode(y=y("mean"), color=color, tooltip=about),
        band.mark_area(opacity=0.13).encode(
            x=x, y=y("low"), y2="high", color=color, detail="line:N"
        ),
        mean.mark_line(strokeWidth=2.2).encode(
            x=x, y=y("mean"), color=color, strokeDash=dash, detail="line:N"
        ),
        single.mark_circle(size=26, opacity=0.4).encode(
            x=x, y=y("value"), color=color, tooltip=about
        ),
        mean.mark_rule(strokeWidth=1.2, opacity=0.6).encode(
            x=x, y=y("low"), y2="high", color=color
        ),
        mean.mark_point(size=72, filled=True, opacity=1, stroke="white", strokeWidth=1).encode(
            x=x,
            y=y("mean"),
            fill=alt.Fill("color:N", scale=None),
            shape=alt.Shape("shape:N", scale=None),
            tooltip=about,
        ),
        label.mark_text(align="left", baseline="middle", fontSize=12, clip=False).encode(
            x=alt.XValue(alt.ExprRef("width + 18")), y=y("y"), text="text:N", color=color
        ),
    ]
    return (
        alt.layer(*layers)
        .add_params(*(alt.param(name=name, value=value) for name, value in SIGNALS.items()))
        .add_params(alt.param(name="xtitle", value=""), alt.param(name="ytitle", value=""))
        .properties(width=600, height=320, autosize=alt.AutoSizeParams(type="none"))
        .configure(font="system-ui, sans-serif", aria=False, background="transparent")
        .configure_view(stroke=None)
        .configure_axis(
            labelFontSize=12,
            titleFontSize=12,
            titleFontWeight="normal",
            gridColor=GRID,
            labelColor=TICKS,
            titleColor=INK,
        )
    )


def _finished(specification: dict[str, Any]) -> dict[str, Any]:
    """Make titles signals, which Vega-Lite does not support."""
    for axis in specification["axes"]:
        if axis.get("title") in ("xtitle", "ytitle"):
            axis["title"] = {"signal": axis["title"]}
    return specification
