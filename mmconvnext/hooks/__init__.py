from .class_report import ClassReportHook

__all__ = ['ClassReportHook']
